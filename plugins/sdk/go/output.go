package sluicegate

import "slices"

// Output is a record being written, straight into the columns that go back to the runtime. It inherits key, value,
// headers and timestamp of its record, and takes the default output; what is inherited never crosses the boundary.
// Setting something twice keeps the last. It is good until the next one is begun.
type Output struct {
	record *Record
}

// Value sets the value; nil is a tombstone, and not the same as empty.
func (o *Output) Value(value []byte) *Output {
	o.writer().values.set(o.writer().outputs, value)
	return o
}

// Text sets the value to a text.
func (o *Output) Text(value string) *Output {
	w := o.writer()
	w.values.reach(w.outputs)
	w.values.data = append(w.values.data, value...)
	w.values.lengths = append(w.values.lengths, int32(len(value)))
	return o
}

// Write appends to the value, without a copy in between; where none was set, it begins one. It never fails.
func (o *Output) Write(more []byte) (int, error) {
	w := o.writer()
	if len(w.values.lengths) < w.outputs || w.values.lengths[w.outputs-1] < 0 {
		o.Value([]byte{})
	}
	w.values.data = append(w.values.data, more...)
	w.values.lengths[w.outputs-1] += int32(len(more))
	return len(more), nil
}

// WriteValue sets the value to so many bytes, zeros at first, and gives them to be written: they lie in the column that goes
// back, so nothing is copied or allocated. They are good until anything else is set or written, or Process returns.
func (o *Output) WriteValue(size int) []byte {
	w := o.writer()
	w.values.reach(w.outputs)
	start := len(w.values.data)
	w.values.data = slices.Grow(w.values.data, size)[:start+size]
	w.values.lengths = append(w.values.lengths, int32(size))
	value := w.values.data[start:]
	clear(value)
	return value
}

// Key sets the key; nil is null, and not the same as empty.
func (o *Output) Key(key []byte) *Output {
	o.writer().keys.set(o.writer().outputs, key)
	return o
}

// Timestamp sets the timestamp, in milliseconds since the Unix epoch.
func (o *Output) Timestamp(timestamp int64) *Output {
	o.writer().setTimestamp(timestamp, o.record)
	return o
}

// NoTimestamp lets it go out without one, whatever its record has.
func (o *Output) NoTimestamp() *Output { return o.Timestamp(noTimestamp) }

// Header adds a header after those that are there: the inherited ones, unless they were cleared. A nil value is null.
func (o *Output) Header(name string, value []byte) *Output {
	w := o.writer()
	if len(w.counts) < w.outputs {
		w.clearHeaders()
		for name, value := range o.record.Headers() {
			w.pushHeader(name, value)
		}
	}
	w.pushHeader([]byte(name), value)
	return o
}

// ClearHeaders removes all headers, the inherited ones too.
func (o *Output) ClearHeaders() *Output {
	o.writer().clearHeaders()
	return o
}

// To sends it to a named output.
func (o *Output) To(destination Destination) *Output {
	w := o.writer()
	w.to = append(fill(w.to[:min(len(w.to), w.outputs-1)], w.outputs-1, int32(Default)), int32(destination))
	return o
}

// Done ends the output, and gives the outcome to return.
func (o *Output) Done() Outcome { return Outcome{code: emitted} }

func (o *Output) writer() *writer { return &o.record.batch.writer }

// Split is several outputs in a record's place: Add each, then Done.
type Split struct {
	record *Record
}

// Add begins the next output. It inherits all that is not set.
func (s *Split) Add() *Output { return s.record.Emit() }

// Done ends the last output, and gives the outcome to return.
func (s *Split) Done() Outcome { return Outcome{code: emitted} }

const (
	null    = -1
	inherit = -2
)

// writer holds the columns that go back. They are lazy: an output writes only into those it differs in, and entries that it
// has skipped are filled when a later output writes, or at the end. Their memory is kept from batch to batch.
type writer struct {
	outputs     int
	outcomes    []int32
	reasons     []string
	to          []int32
	timestamps  []int64
	keys        column
	values      column
	counts      []int32
	headerNames column
	headerVals  column
}

type column struct {
	data    []byte
	lengths []int32
}

func (w *writer) reset() {
	clear(w.reasons)
	w.outputs, w.outcomes, w.reasons, w.to, w.timestamps = 0, w.outcomes[:0], w.reasons[:0], w.to[:0], w.timestamps[:0]
	w.counts = w.counts[:0]
	for _, column := range []*column{&w.keys, &w.values, &w.headerNames, &w.headerVals} {
		column.data, column.lengths = column.data[:0], column.lengths[:0]
	}
}

func (w *writer) begin(of *Record) {
	w.outputs++
	// The one column that has no word for "inherited": once it exists, every output has its entry from the start.
	if len(w.timestamps) > 0 {
		w.timestamps = append(w.timestamps, of.batch.timestamps[of.index])
	}
}

func (w *writer) setTimestamp(timestamp int64, of *Record) {
	if len(w.timestamps) == 0 {
		for record, emitted := range w.outcomes {
			for range max(emitted, 0) {
				w.timestamps = append(w.timestamps, of.batch.timestamps[record])
			}
		}
		w.timestamps = fill(w.timestamps, w.outputs, of.batch.timestamps[of.index])
	}
	w.timestamps[w.outputs-1] = timestamp
}

func (w *writer) clearHeaders() {
	if len(w.counts) == w.outputs {
		w.takeBackHeaders()
	}
	w.counts = append(fill(w.counts, w.outputs-1, inherit), 0)
}

func (w *writer) pushHeader(name, value []byte) {
	if name == nil {
		name = []byte{}
	}
	w.headerNames.push(name)
	w.headerVals.push(value)
	w.counts[w.outputs-1]++
}

func (w *writer) takeBackHeaders() {
	last := len(w.counts) - 1
	for range max(w.counts[last], 0) {
		w.headerNames.pop()
		w.headerVals.pop()
	}
	w.counts = w.counts[:last]
}

// close ends a record, before which there were so many outputs.
func (w *writer) close(outcome Outcome, before int) {
	if outcome.code != emitted && w.outputs > before {
		w.takeBack(before)
	}
	switch outcome.code {
	case dropped:
		w.outcomes = append(w.outcomes, 0)
	case passed:
		w.outcomes = append(w.outcomes, -1)
	case emitted:
		w.outcomes = append(w.outcomes, int32(w.outputs-before))
	case rejected:
		w.outcomes = append(w.outcomes, -2)
		w.reasons = append(w.reasons, valid(outcome.reason))
	default:
		panic("process returned no outcome")
	}
}

func (w *writer) takeBack(outputs int) {
	w.outputs = outputs
	w.to = w.to[:min(len(w.to), outputs)]
	w.timestamps = w.timestamps[:min(len(w.timestamps), outputs)]
	for len(w.keys.lengths) > outputs {
		w.keys.pop()
	}
	for len(w.values.lengths) > outputs {
		w.values.pop()
	}
	for len(w.counts) > outputs {
		w.takeBackHeaders()
	}
}

// finish fills the ends of the columns that exist.
func (w *writer) finish() {
	w.keys.lengths = fill(w.keys.lengths, w.outputs, inherit)
	w.values.lengths = fill(w.values.lengths, w.outputs, inherit)
	if len(w.to) > 0 {
		w.to = fill(w.to, w.outputs, int32(Default))
	}
	if len(w.counts) > 0 {
		w.counts = fill(w.counts, w.outputs, inherit)
	}
}

// reach brings the column to the entry of the current output, without it.
func (c *column) reach(outputs int) {
	if len(c.lengths) == outputs {
		c.pop()
	}
	c.lengths = fill(c.lengths, outputs-1, inherit)
}

func (c *column) set(outputs int, value []byte) {
	c.reach(outputs)
	c.push(value)
}

func (c *column) push(value []byte) {
	if value == nil {
		c.lengths = append(c.lengths, null)
		return
	}
	c.data = append(c.data, value...)
	c.lengths = append(c.lengths, int32(len(value)))
}

func (c *column) pop() {
	last := len(c.lengths) - 1
	c.data = c.data[:len(c.data)-int(max(c.lengths[last], 0))]
	c.lengths = c.lengths[:last]
}

func fill[T any](list []T, size int, with T) []T {
	for len(list) < size {
		list = append(list, with)
	}
	return list
}
