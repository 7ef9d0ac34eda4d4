// Package sluicegate is for plugins in Go: one record at a time, while records cross the boundary a batch a call.
//
//	func shout(sluicegate.NoConfig, sluicegate.Outputs) (sluicegate.Process, error) {
//		return func(record *sluicegate.Record) sluicegate.Outcome {
//			if record.Value() == nil {
//				return sluicegate.Pass
//			}
//			return record.Emit().Value(bytes.ToUpper(record.Value())).Done()
//		}, nil
//	}
//
//	func init() { sluicegate.Export(sluicegate.About{Name: "shout", Version: "0.1.0"}, shout) }
//
// One goroutine calls a plugin, and an instance lives until it fails. What it keeps is therefore a cache, never the
// truth: the same record is to become the same again, whatever came before it.
package sluicegate

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// About is what a plugin says of itself; `sluicegate inspect` prints it.
type About struct {
	Name, Version, Summary string
}

// NoConfig is the configuration of a plugin that has none: any key in it is an error.
type NoConfig struct{}

// Process is called for each record, in the order of its partition. A panic fails the record, with its words and its
// place in the source as the reason.
type Process func(record *Record) Outcome

// Export makes a plugin of configure; once in a program, from an init function. configure is called once an instance,
// before its first record, with the stage's `config:` decoded as encoding/json does, but that unknown keys are errors.
// Its error keeps the pipeline from starting, and is shown.
//
// C becomes the JSON Schema that the runtime checks a configuration against: a key is required unless its tag says
// omitempty, and a tag `doc:"…"` is its description.
func Export[C any](about About, configure func(config C, outputs Outputs) (Process, error)) {
	exported.about = about
	exported.schema = schemaOf[C]()
	exported.configure = func(text string, outputs Outputs) (Process, error) {
		var config C
		decoder := json.NewDecoder(bytes.NewBufferString(text))
		decoder.DisallowUnknownFields()
		if err := decoder.Decode(&config); err != nil {
			return nil, fmt.Errorf("%s", strings.TrimPrefix(err.Error(), "json: "))
		}
		process, err := configure(config, outputs)
		if process == nil && err == nil {
			err = errors.New("configure returned no Process")
		}
		return process, err
	}
}

var exported struct {
	about     About
	schema    string
	configure func(config string, outputs Outputs) (Process, error)
	process   Process
}

// Outputs are the names that a result may be sent to, as the pipeline gives them under the sink's `outputs:`.
type Outputs struct {
	names []string
}

// Destination is where an output goes: Default, or what Outputs.Named has found.
type Destination int32

// Default is the pipeline's default output.
const Default Destination = -1

// Named finds a destination. Its error says which names there are.
func (o Outputs) Named(name string) (Destination, error) {
	if index := slices.Index(o.names, name); index >= 0 {
		return Destination(index), nil
	}
	known := "the pipeline names no outputs"
	if len(o.names) > 0 {
		known = "the pipeline has `" + strings.Join(o.names, "`, `") + "`"
	}
	return Default, fmt.Errorf("no output is named `%s`: %s", name, known)
}

// Names are all names, in the pipeline's order.
func (o Outputs) Names() []string { return slices.Clone(o.names) }

// Outcome is what becomes of a record: Pass, Drop, what Reject gives, or what the Done of an Output or a Split gives. The
// zero Outcome is none of these, and fails the record.
type Outcome struct {
	code   int32
	reason string
}

const (
	dropped = iota + 1
	passed
	emitted
	rejected
)

var (
	// Drop: nothing is produced; the record counts as done.
	Drop = Outcome{code: dropped}
	// Pass: the record goes on as it came; its bytes never cross back.
	Pass = Outcome{code: passed}
)

// Reject refuses the record: the stage's failure policy decides what becomes of it, and shows the reason.
func Reject(reason string) Outcome { return Outcome{rejected, reason} }

// Rejectf is Reject in the manner of fmt.Sprintf.
func Rejectf(format string, arguments ...any) Outcome {
	return Reject(fmt.Sprintf(format, arguments...))
}

// Level is how much a line in the log matters.
type Level int32

// The levels, from every step up to what was given up on.
const (
	Trace Level = iota
	Debug
	Info
	Warn
	Error
)

// Log writes a line in the runtime's log, in the manner of fmt.Sprintf. It crosses the boundary at once, so one a record
// costs more than the record: use Count for what is usual.
func Log(level Level, format string, arguments ...any) {
	hostLog(level, valid(fmt.Sprintf(format, arguments...)))
}

var counts []counter

type counter struct {
	name string
	sum  uint64
}

// Count adds to the stage's counter plugin_<name>: at most 64 of a-z0-9_, and 32 names a plugin. It crosses the boundary
// once a batch, after its last record; a batch that is run again after that counts again.
func Count(name string, by uint64) {
	for i := range counts {
		if counts[i].name == name {
			counts[i].sum += by
			return
		}
	}
	counts = append(counts, counter{name, by})
}

func flushCounts() {
	for _, counter := range counts {
		hostCount(valid(counter.name), counter.sum)
	}
	counts = counts[:0]
}

// valid is the text as the boundary takes it: UTF-8.
func valid(text string) string { return strings.ToValidUTF8(text, "\uFFFD") }
