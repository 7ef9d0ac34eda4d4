package sluicegate

import (
	"slices"
	"strings"
	"testing"
)

func TestSchemaIsThatOfTheType(t *testing.T) {
	type rule struct {
		Above float64 `json:"above"`
		Next  *rule   `json:"next,omitempty"`
	}
	type config struct {
		Label  string         `json:"label,omitempty" doc:"What it is called."`
		Rules  []rule         `json:"rules"`
		Limits map[string]int `json:"limits,omitempty"`
		hidden bool
	}
	_ = config{hidden: true}
	const want = `{"additionalProperties":false,"properties":{` +
		`"label":{"description":"What it is called.","type":"string"},` +
		`"limits":{"additionalProperties":{"type":"integer"},"type":"object"},` +
		`"rules":{"items":{"additionalProperties":false,"properties":{` +
		`"above":{"type":"number"},"next":{"type":"object"}},"required":["above"],"type":"object"},"type":"array"}},` +
		`"required":["rules"],"type":"object"}`
	if got := schemaOf[config](); got != want {
		t.Errorf("schema:\n%s\nwant:\n%s", got, want)
	}
}

func TestConfigurationIsDecodedStrictly(t *testing.T) {
	type config struct{ Above int }
	Export(About{Name: "test"}, func(config config, _ Outputs) (Process, error) {
		if config.Above != 3 {
			t.Errorf("above is %d", config.Above)
		}
		return nil, nil
	})
	_, err := exported.configure(`{"Above":3}`, Outputs{})
	if err == nil || err.Error() != "configure returned no Process" {
		t.Error(err)
	}
	_, err = exported.configure(`{"Above":3,"below":1}`, Outputs{})
	if err == nil || !strings.Contains(err.Error(), `unknown field "below"`) {
		t.Error(err)
	}
}

func TestAnOutputThatIsNotThereIsToldWhichAre(t *testing.T) {
	_, err := Outputs{[]string{"a", "b"}}.Named("c")
	if err == nil || err.Error() != "no output is named `c`: the pipeline has `a`, `b`" {
		t.Error(err)
	}
}

// The numbers that the other SDKs draw for the same record.
func TestChanceIsTheRecordsOwn(t *testing.T) {
	record := Record{batch: &batch{topic: "trades.größe", partition: 3, offsets: []uint64{70}}}
	random := record.Random()
	if number := random.Uint64(); number != 18286076289792028226 {
		t.Error(number)
	}
}

func TestColumnsStayEmptyWhereAllIsInherited(t *testing.T) {
	b := &batch{offsets: []uint64{0, 1, 2}, timestamps: []int64{7, 8, 9}}
	w := &b.writer
	for i := range b.offsets {
		record := &Record{batch: b, index: i}
		before := w.outputs
		outcome := record.Emit().Value([]byte("x")).Done()
		if i == 1 {
			record.Emit().Key([]byte("k")).Timestamp(3).Header("h", nil).To(1)
			outcome = Reject("no") // Takes back both.
		}
		w.close(outcome, before)
	}
	w.finish()
	if !slices.Equal(w.outcomes, []int32{1, -2, 1}) || !slices.Equal(w.values.lengths, []int32{1, 1}) {
		t.Error(w.outcomes, w.values.lengths)
	}
	if !slices.Equal(w.keys.lengths, []int32{inherit, inherit}) || string(w.values.data) != "xx" {
		t.Error(w.keys.lengths, string(w.values.data))
	}
	if len(w.headerNames.lengths) != 0 {
		t.Error(w.headerNames.lengths)
	}
}

func TestAnOutcomeThatWasNotSetDropsNothing(t *testing.T) {
	defer func() {
		if panicked := recover(); panicked != "process returned no outcome" {
			t.Error(panicked)
		}
	}()
	new(writer).close(Outcome{}, 0)
}

func TestAValueIsWrittenInPlace(t *testing.T) {
	b := &batch{offsets: []uint64{0}, timestamps: []int64{7}}
	record := &Record{batch: b}
	output := record.Emit().Text("gone")
	copy(output.WriteValue(3), "ab")
	output.Write([]byte("!"))
	record.Emit().WriteValue(0)
	w := &b.writer
	if string(w.values.data) != "ab\x00!" || !slices.Equal(w.values.lengths, []int32{4, 0}) {
		t.Errorf("%q %v", w.values.data, w.values.lengths)
	}
}
