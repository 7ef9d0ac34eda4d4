package main

import (
	"bytes"
	"fmt"
	"strings"
	"unicode/utf8"
)

// depthMax is how deep objects and lists may lie in one another.
const depthMax = 128

// node is a place in paths such as `client.name` or `legs.*.price`: names of members, and `*` for every element of a list.
type node struct {
	// What is masked here, and thereby with all that is below.
	mask     mask
	names    []string
	members  []*node
	elements *node
}

func (n *node) add(path string, mask mask) error {
	for name := range strings.SplitSeq(path, ".") {
		if name == "" {
			return fmt.Errorf("`%s` is not a path: write names with dots between them", path)
		}
		n = n.child(name)
	}
	if n.mask != nil {
		return fmt.Errorf("`%s` is there twice", path)
	}
	n.mask = mask
	return nil
}

func (n *node) child(name string) *node {
	if name == "*" {
		if n.elements == nil {
			n.elements = new(node)
		}
		return n.elements
	}
	if known := n.member([]byte(name)); known != nil {
		return known
	}
	n.names = append(n.names, name)
	n.members = append(n.members, new(node))
	return n.members[len(n.members)-1]
}

// member is the node of this name; nil if there is none.
func (n *node) member(name []byte) *node {
	if n == nil {
		return nil
	}
	for i, known := range n.names {
		if string(name) == known {
			return n.members[i]
		}
	}
	return nil
}

// element is the node of a list's elements; nil if there is none.
func (n *node) element() *node {
	if n == nil {
		return nil
	}
	return n.elements
}

// walk calls found with the place of every value that is to be masked, in the order in which they stand in the text. It
// builds nothing, and reads all of the text: found may have been called before an error shows that it is not JSON.
func walk(text []byte, root *node, found func(start, end int, mask mask)) error {
	w := walker{text: text, found: found}
	w.value(root, 0)
	w.space()
	if w.err == nil && w.at < len(text) {
		w.fail("more behind the value")
	}
	return w.err
}

type walker struct {
	text  []byte
	at    int
	err   error
	found func(start, end int, mask mask)
}

func (w *walker) fail(what string) {
	if w.err == nil {
		w.err = fmt.Errorf("%s at byte %d", what, w.at)
	}
	w.at = len(w.text) // Whatever is reading reaches the end.
}

// peek is the byte at hand; 0 at the end, which no JSON has.
func (w *walker) peek() byte {
	if w.at < len(w.text) {
		return w.text[w.at]
	}
	return 0
}

func (w *walker) space() {
	for w.at < len(w.text) {
		switch w.text[w.at] {
		case ' ', '\t', '\n', '\r':
			w.at++
		default:
			return
		}
	}
}

// value reads one value. Nothing is masked where there is no node.
func (w *walker) value(node *node, depth int) {
	w.space()
	start := w.at
	below := node
	if node != nil && node.mask != nil {
		below = nil
	}
	switch first := w.peek(); first {
	case '{', '[':
		if depth == depthMax {
			w.fail(fmt.Sprintf("more than %d objects and lists in one another", depthMax))
			return
		}
		w.nested(first == '{', below, depth+1)
	case '"':
		w.string()
	case 't':
		w.word("true")
	case 'f':
		w.word("false")
	case 'n':
		w.word("null")
	default:
		w.number()
	}
	if w.err == nil && node != nil && node.mask != nil {
		w.found(start, w.at, node.mask)
	}
}

func (w *walker) nested(isObject bool, node *node, depth int) {
	end := byte(']')
	if isObject {
		end = '}'
	}
	w.at++
	if w.space(); w.peek() == end {
		w.at++
		return
	}
	for {
		if isObject {
			w.value(node.member(w.name()), depth)
		} else {
			w.value(node.element(), depth)
		}
		switch w.space(); w.peek() {
		case ',':
			w.at++
		case end:
			w.at++
			return
		default:
			w.fail("expected a comma or the end of an object or list")
			return
		}
	}
}

// name reads a member's name and the colon behind it.
func (w *walker) name() []byte {
	w.space()
	if w.peek() != '"' {
		w.fail("expected a name")
		return nil
	}
	start := w.at
	w.string()
	if w.err != nil {
		return nil
	}
	name, _ := textOf(w.text[start:w.at])
	if w.space(); w.peek() != ':' {
		w.fail("expected a colon")
		return nil
	}
	w.at++
	return name
}

func (w *walker) word(word string) {
	if !bytes.HasPrefix(w.text[w.at:], []byte(word)) {
		w.fail("expected a value")
		return
	}
	w.at += len(word)
}

// string reads a string with its quotes.
func (w *walker) string() {
	start := w.at
	isASCII := true
	for w.at++; ; w.at++ {
		switch c := w.peek(); {
		case c == '"':
			w.at++
			if !isASCII && !utf8.Valid(w.text[start:w.at]) {
				w.fail("a string that is not UTF-8")
			}
			return
		case c == '\\':
			w.at++
			if !w.escape() {
				w.fail("no such escape")
				return
			}
		case c < ' ':
			w.fail("a string that does not end, or a control character in it")
			return
		case c >= utf8.RuneSelf:
			isASCII = false
		}
	}
}

// escape tells whether what is behind a backslash is an escape, and moves to its last byte.
func (w *walker) escape() bool {
	switch w.peek() {
	case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
		return true
	case 'u':
		for range 4 {
			w.at++
			if c := w.peek() | 0x20; !isDigit(w.peek()) && (c < 'a' || c > 'f') {
				return false
			}
		}
		return true
	}
	return false
}

// number reads a number: a sign, an integer without zeros before it, a fraction, an exponent.
func (w *walker) number() {
	start := w.at
	w.skip("-")
	isNumber := w.peek() == '0' && w.skip("0") || w.digits()
	if isNumber && w.skip(".") {
		isNumber = w.digits()
	}
	if isNumber && w.skip("eE") {
		w.skip("+-")
		isNumber = w.digits()
	}
	if !isNumber {
		if w.at == start {
			w.fail("expected a value")
		} else {
			w.fail("a number that does not end")
		}
	}
}

// skip passes one byte, if it is one of these.
func (w *walker) skip(oneOf string) bool {
	if w.at < len(w.text) && strings.IndexByte(oneOf, w.text[w.at]) >= 0 {
		w.at++
		return true
	}
	return false
}

func (w *walker) digits() bool {
	start := w.at
	for isDigit(w.peek()) {
		w.at++
	}
	return w.at > start
}

func isDigit(c byte) bool { return '0' <= c && c <= '9' }
