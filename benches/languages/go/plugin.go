// Package main does to every record what its configuration says: the same in each language, for
// benches/src/bin/languages.rs.
package main

import (
	"encoding/json"

	sluicegate "github.com/sluicegate/sluicegate/plugins/sdk/go"
)

type config struct {
	Task string `json:"task"`
}

func configure(config config, _ sluicegate.Outputs) (sluicegate.Process, error) {
	switch config.Task {
	case "rewrite":
		return rewrite, nil
	case "json":
		return changeField, nil
	}
	return func(*sluicegate.Record) sluicegate.Outcome { return sluicegate.Pass }, nil
}

func rewrite(record *sluicegate.Record) sluicegate.Outcome {
	value, output := record.Value(), record.Emit()
	capitals := output.WriteValue(len(value))
	for i, b := range value {
		if 'a' <= b && b <= 'z' {
			b -= 'a' - 'A'
		}
		capitals[i] = b
	}
	return output.Done()
}

func changeField(record *sluicegate.Record) sluicegate.Outcome {
	var fields map[string]any
	if err := json.Unmarshal(record.Value(), &fields); err != nil {
		return sluicegate.Reject(err.Error())
	}
	fields["symbol"] = "ACME"
	value, err := json.Marshal(fields)
	if err != nil {
		return sluicegate.Reject(err.Error())
	}
	return record.Emit().Value(value).Done()
}

func init() {
	sluicegate.Export(sluicegate.About{Name: "bench", Version: "0.1.0", Summary: "Does what its configuration says"}, configure)
}

func main() {}
