// Package main does what each record asks for; ../README.md says how it asks.
package main

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strconv"

	sluicegate "github.com/sluicegate/sluicegate/plugins/sdk/go"
)

type config struct {
	Greeting *string `json:"greeting,omitempty" doc:"What greet says."`
	Refuse   string  `json:"refuse,omitempty" doc:"Refuse the configuration with these words."`
	Panic    string  `json:"panic,omitempty" doc:"Panic with these words."`
}

type conformance struct {
	greeting string
	outputs  sluicegate.Outputs
}

func configure(config config, outputs sluicegate.Outputs) (sluicegate.Process, error) {
	if config.Panic != "" {
		panic(config.Panic)
	}
	if config.Refuse != "" {
		return nil, errors.New(config.Refuse)
	}
	c := conformance{"hello", outputs}
	if config.Greeting != nil {
		c.greeting = *config.Greeting
	}
	return c.process, nil
}

func (c conformance) process(record *sluicegate.Record) sluicegate.Outcome {
	program := record.Value()
	if header, _ := record.Header("do"); header != nil {
		program = header
	}
	if program == nil {
		return sluicegate.Pass
	}
	split := record.Split()
	var output *sluicegate.Output
	emitted := false
	for line := range bytes.SplitSeq(program, []byte("\n")) {
		word, argument := cut(line)
		switch word {
		case "":
		case "pass":
			return sluicegate.Pass
		case "drop":
			return sluicegate.Drop
		case "reject":
			return sluicegate.Reject(string(argument))
		case "panic":
			panic(string(argument))
		case "log":
			level, words := cut(argument)
			sluicegate.Log(sluicegate.Level(slices.Index(levels, level)), "%s", words)
		case "count":
			name, by := cut(argument)
			sluicegate.Count(name, uint64(number(by)))
		case "split":
			emitted = true
			for n := range number(argument) {
				split.Add().Text(strconv.FormatInt(n, 10))
			}
		case "emit":
			emitted = true
			output = split.Add()
		default:
			if output == nil {
				return unknown(line)
			}
			if err := c.set(output, record, word, argument); err != nil {
				return sluicegate.Reject(err.Error())
			}
		}
	}
	if emitted {
		return split.Done()
	}
	return sluicegate.Pass
}

var levels = []string{"trace", "debug", "info", "warn", "error"}

func (c conformance) set(output *sluicegate.Output, record *sluicegate.Record, word string, argument []byte) error {
	switch word {
	case "key":
		output.Key(argument)
	case "value":
		output.Value(argument)
	case "null":
		switch string(argument) {
		case "key":
			output.Key(nil)
		case "value":
			output.Value(nil)
		case "timestamp":
			output.NoTimestamp()
		}
	case "timestamp":
		output.Timestamp(number(argument))
	case "header":
		name, value, found := bytes.Cut(argument, []byte("="))
		if !found {
			value = nil
		}
		output.Header(string(name), value)
	case "clear":
		output.ClearHeaders()
	case "to":
		to, err := c.outputs.Named(string(argument))
		if err != nil {
			return err
		}
		output.To(to)
	case "copy":
		c.copy(output, record, argument)
	case "fill":
		output.Value(bytes.Repeat([]byte("x"), int(number(argument))))
	case "greet":
		fmt.Fprintf(output, "%s, %s", c.greeting, argument)
	default:
		return fmt.Errorf("unknown instruction `%s %s`", word, argument)
	}
	return nil
}

func (c conformance) copy(output *sluicegate.Output, record *sluicegate.Record, what []byte) {
	word, argument := cut(what)
	switch word {
	case "key":
		output.Value(record.Key())
	case "value":
		output.Value(record.Value())
	case "topic":
		output.Text(record.Topic())
	case "place":
		timestamp := "-"
		if at, ok := record.Timestamp(); ok {
			timestamp = strconv.FormatInt(at, 10)
		}
		fmt.Fprintf(output, "%d/%d/%s", record.Partition(), record.Offset(), timestamp)
	case "headers":
		output.Text("")
		for name, value := range record.Headers() {
			output.Write(name)
			if value != nil {
				fmt.Fprintf(output, "=%s", value)
			}
			output.Write([]byte(";"))
		}
	case "header":
		value, _ := record.Header(string(argument))
		output.Value(value)
	case "outputs":
		output.Text("")
		for _, name := range c.outputs.Names() {
			fmt.Fprintf(output, "%s,", name)
		}
	case "now":
		fmt.Fprint(output, record.Now())
	case "random":
		random := record.Random()
		fmt.Fprint(output, random.Uint64())
	}
}

// cut gives a line's word, and the rest of it.
func cut(line []byte) (string, []byte) {
	word, argument, _ := bytes.Cut(line, []byte(" "))
	if argument == nil {
		argument = []byte{}
	}
	return string(word), argument
}

func number(text []byte) int64 {
	n, _ := strconv.ParseInt(string(text), 10, 64)
	return n
}

func unknown(line []byte) sluicegate.Outcome {
	return sluicegate.Rejectf("unknown instruction `%s`", line)
}

func init() {
	about := sluicegate.About{Name: "conformance", Version: "0.1.0", Summary: "Does what each record asks for"}
	sluicegate.Export(about, configure)
}

func main() {}
