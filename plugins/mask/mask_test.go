package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"unicode/utf8"

	sluicegate "github.com/sluicegate/sluicegate/plugins/sdk/go"
)

// The walk takes for JSON what encoding/json does, but for text that is not UTF-8, and for what lies too deep.
func TestWalkKnowsJSON(t *testing.T) {
	texts := []string{
		``, ` `, `1`, `-0`, `-`, `01`, `1.`, `.5`, `1.5e`, `1E+5`, `+1`, `1e-05`, `0x1`, `NaN`, `true`, `tru`, `truex`, `null`, `nul`,
		`"a"`, `"`, `"a`, `"\n"`, `"\x"`, `"\u12"`, `"\u12G4"`, `"\uD83D\uDE00"`, `"\ud800"`, "\"\n\"", "\"\x7f\"", `"é"`, "\"\x00\"",
		`[]`, `[ ]`, `[1]`, `[1,]`, `[,1]`, `[1 2]`, `[1`, `[`, `]`, `[[],[{}]]`, `{}`, `{ }`, `{"a":1}`, `{"a" : [1, {"b":null}] }`,
		`{"a"}`, `{"a":}`, `{"a":1,}`, `{a:1}`, `{"a":1 "b":2}`, `{"a":1`, `{1:1}`, `{"a":1}}`, `1 2`, "\t[\r\n1\n]\n", "\v1", `/**/1`,
	}
	for _, text := range texts {
		err := walk([]byte(text), nil, nil)
		if want := json.Valid([]byte(text)); (err == nil) != want {
			t.Errorf("%q: JSON %v, walked %v", text, want, err)
		}
	}
}

func FuzzWalkKnowsJSON(f *testing.F) {
	f.Add([]byte(`{"a":[1,"\u0062",null]}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		if !utf8.Valid(text) || bytes.Count(text, []byte{'['})+bytes.Count(text, []byte{'{'}) > depthMax {
			return
		}
		err := walk(text, nil, nil)
		if want := json.Valid(text); (err == nil) != want {
			t.Errorf("%q: JSON %v, walked %v", text, want, err)
		}
	})
}

func TestWalkIsBounded(t *testing.T) {
	deep := func(depth int) string { return strings.Repeat("[", depth) + strings.Repeat("]", depth) }
	if err := walk([]byte(deep(depthMax)), nil, nil); err != nil {
		t.Error(err)
	}
	if err := walk([]byte(deep(depthMax+1)), nil, nil); err == nil {
		t.Error("too deep, and walked")
	}
	if err := walk([]byte("\"\xff\""), nil, nil); err == nil {
		t.Error("not UTF-8, and walked")
	}
}

func TestMasksAreJSON(t *testing.T) {
	values := []string{`"abcdef"`, `"a\"b\\c\"\""`, `"\u00e9\ud83d\ude00"`, `"éü😀"`, `""`, `12.50`, `true`, `{"a":1}`, `["b"]`}
	for _, value := range values {
		for _, mask := range []mask{keepLast(0), keepLast(2), keepLast(1 << 30), newHash("salt"), fixedText(quoted([]byte(`<"\>`)))} {
			var into bytes.Buffer
			mask.write(&into, []byte(value))
			var text string
			if err := json.Unmarshal(into.Bytes(), &text); err != nil {
				t.Errorf("%T of %s is %s: %v", mask, value, &into, err)
			}
		}
	}
}

func TestConfigurationsAreJudged(t *testing.T) {
	for text, words := range map[string]string{
		`{"fields":[]}`:             "at least one field",
		`{"fields":[{"path":"a"}]}`: "fields[0]: exactly one of",
		`{"fields":[{"path":"a","text":"x","keep-last":1}]}`:                "exactly one of",
		`{"fields":[{"path":"a","keep-last":-1}]}`:                          "not negative",
		`{"fields":[{"path":"a","hash":true}]}`:                             "needs a `salt`",
		`{"fields":[{"path":"a.","text":""}]}`:                              "`a.` is not a path",
		`{"fields":[{"path":"b.*","text":""},{"path":"b.*","text":"x"}]}`:   "fields[1]: `b.*` is there twice",
		`{"salt":"s","fields":[{"path":"a","hash":true,"keep-last":null}]}`: "<nil>",
	} {
		var decoded config
		if err := json.Unmarshal([]byte(text), &decoded); err != nil {
			t.Fatal(err)
		}
		if _, err := configure(decoded, sluicegate.Outputs{}); !strings.Contains(fmt.Sprint(err), words) {
			t.Errorf("%s: %v", text, err)
		}
	}
}
