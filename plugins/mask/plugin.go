// Package main masks JSON fields: all but the end of them, by a keyed hash, or by a fixed text.
//
// The value is edited as text: what is not masked stays as it was, byte for byte, with the order of fields and all digits
// of numbers. A value in which nothing is masked passes, and never crosses back.
package main

import (
	"errors"
	"fmt"

	sluicegate "github.com/sluicegate/sluicegate/plugins/sdk/go"
)

type config struct {
	Fields []rule `json:"fields" doc:"What is masked, and how: each field by exactly one of keep-last, hash and text."`
	Salt   string `json:"salt,omitempty" doc:"The key of hashes; needed with hash."`
}

type rule struct {
	Path     string  `json:"path" doc:"The path of JSON fields, as account, client.name or legs.*.account."`
	KeepLast *int    `json:"keep-last,omitempty" doc:"An asterisk for each character but the last so many."`
	Hash     bool    `json:"hash,omitempty" doc:"The HMAC-SHA-256 of the text under the salt, in hexadecimal."`
	Text     *string `json:"text,omitempty" doc:"This text in its place."`
}

func configure(config config, _ sluicegate.Outputs) (sluicegate.Process, error) {
	if len(config.Fields) == 0 {
		return nil, errors.New("`fields` needs at least one field")
	}
	root := new(node)
	for index, rule := range config.Fields {
		mask, err := rule.mask(config.Salt)
		if err == nil {
			err = root.add(rule.Path, mask)
		}
		if err != nil {
			return nil, fmt.Errorf("fields[%d]: %w", index, err)
		}
	}
	return newMasker(root).process, nil
}

func (r rule) mask(salt string) (mask, error) {
	var masks []mask
	if r.KeepLast != nil {
		if *r.KeepLast < 0 {
			return nil, errors.New("`keep-last` is a number of characters, and not negative")
		}
		masks = append(masks, keepLast(*r.KeepLast))
	}
	if r.Hash {
		if salt == "" {
			return nil, errors.New("`hash` needs a `salt`: without one, anybody can try out what a hash stands for")
		}
		masks = append(masks, newHash(salt))
	}
	if r.Text != nil {
		masks = append(masks, fixedText(quoted([]byte(*r.Text))))
	}
	if len(masks) != 1 {
		return nil, errors.New("exactly one of `keep-last`, `hash: true` and `text` says how it is masked")
	}
	return masks[0], nil
}

// masker writes a value with masks in place of what is masked, from the first mask on.
type masker struct {
	root  *node
	found func(start, end int, mask mask)

	// The record at hand: how far its value was copied, and what is made of it.
	record *sluicegate.Record
	copied int
	masks  uint64
	output *sluicegate.Output
}

func newMasker(root *node) *masker {
	m := &masker{root: root}
	m.found = m.mask // Made once, and not for each record.
	return m
}

func (m *masker) process(record *sluicegate.Record) sluicegate.Outcome {
	value := record.Value()
	if value == nil {
		return sluicegate.Pass
	}
	m.record, m.copied, m.masks, m.output = record, 0, 0, nil
	if err := walk(value, m.root, m.found); err != nil {
		return sluicegate.Reject("the value is not JSON: " + err.Error())
	}
	if m.output == nil {
		return sluicegate.Pass
	}
	sluicegate.Count("masked", m.masks)
	m.output.Write(value[m.copied:])
	return m.output.Done()
}

// mask masks what lies from start to end. A null says that there is nothing to hide, and stays.
func (m *masker) mask(start, end int, mask mask) {
	value := m.record.Value()
	if value[start] == 'n' {
		return
	}
	if m.output == nil {
		m.output = m.record.Emit()
	}
	m.output.Write(value[m.copied:start])
	mask.write(m.output, value[start:end])
	m.copied = end
	m.masks++
}

func init() {
	about := sluicegate.About{
		Name:    "mask",
		Version: "0.1.0",
		Summary: "Masks JSON fields: all but their end, by a keyed hash, or by a text",
	}
	sluicegate.Export(about, configure)
}

func main() {}
