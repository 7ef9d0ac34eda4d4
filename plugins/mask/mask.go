package main

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"hash"
	"io"
	"unicode/utf8"
)

// mask writes, as a JSON string, what stands in place of a JSON value.
type mask interface {
	write(into io.Writer, value []byte)
}

// keepLast keeps so many characters at the end of a string, or of what else is written without being an object or a list.
type keepLast int

var asterisks = bytes.Repeat([]byte("*"), 256)

func (k keepLast) write(into io.Writer, value []byte) {
	if value[0] == '{' || value[0] == '[' {
		into.Write([]byte(`"***"`))
		return
	}
	text, isPlain := textOf(value)
	hidden, kept := utf8.RuneCount(text), []byte(nil)
	// What would show as a whole is hidden as a whole.
	if hidden > int(k) {
		hidden -= int(k)
		kept = lastRunes(text, int(k))
	}
	into.Write([]byte{'"'})
	for hidden > 0 {
		size := min(hidden, len(asterisks))
		into.Write(asterisks[:size])
		hidden -= size
	}
	if !isPlain {
		json := quoted(kept)
		kept = json[1 : len(json)-1]
	}
	into.Write(kept)
	into.Write([]byte{'"'})
}

func lastRunes(text []byte, count int) []byte {
	start := len(text)
	for range count {
		_, size := utf8.DecodeLastRune(text[:start])
		start -= size
	}
	return text[start:]
}

// fixedText is the JSON string that stands in place of any value.
type fixedText []byte

func (f fixedText) write(into io.Writer, _ []byte) { into.Write(f) }

// keyedHash is the HMAC of the text of a string, or of any other value as it is written.
type keyedHash struct {
	hash hash.Hash
	sum  []byte
	hex  [2 * sha256.Size]byte
}

func newHash(key string) *keyedHash {
	return &keyedHash{hash: hmac.New(sha256.New, []byte(key))}
}

func (h *keyedHash) write(into io.Writer, value []byte) {
	text, _ := textOf(value)
	h.hash.Reset()
	h.hash.Write(text)
	h.sum = h.hash.Sum(h.sum[:0])
	hex.Encode(h.hex[:], h.sum)
	into.Write([]byte{'"'})
	into.Write(h.hex[:])
	into.Write([]byte{'"'})
}

// textOf is the text that a JSON string stands for, or else the value as it is written; and whether that stands in a string
// as it is, without escapes.
func textOf(value []byte) (text []byte, isPlain bool) {
	if value[0] != '"' {
		return value, true
	}
	inner := value[1 : len(value)-1]
	if bytes.IndexByte(inner, '\\') < 0 {
		return inner, true
	}
	var unescaped string
	// The walk has found that it is a string.
	_ = json.Unmarshal(value, &unescaped)
	return []byte(unescaped), false
}

// quoted is the JSON string of a text.
func quoted(text []byte) []byte {
	var buffer bytes.Buffer
	encoder := json.NewEncoder(&buffer)
	encoder.SetEscapeHTML(false)
	_ = encoder.Encode(string(text)) // A string, and a buffer, have no way to fail.
	return bytes.TrimSuffix(buffer.Bytes(), []byte("\n"))
}
