package sluicegate

import (
	"iter"
	"math"
)

const noTimestamp = math.MinInt64

// Record is one record. Its bytes are borrowed from the batch it came in: they are good until Process returns, and are
// not to be changed; copy what is to be kept. A nil slice is null, which is not the same as an empty one.
type Record struct {
	batch      *batch
	index      int
	key, value []byte
}

// Topic is the topic it was read from.
func (r *Record) Topic() string { return r.batch.topic }

// Partition is the partition it was read from.
func (r *Record) Partition() uint32 { return r.batch.partition }

// Offset is its place in the partition. Increasing, with gaps where the log was compacted.
func (r *Record) Offset() uint64 { return r.batch.offsets[r.index] }

// Timestamp is in milliseconds since the Unix epoch; false where the log has none.
func (r *Record) Timestamp() (int64, bool) {
	timestamp := r.batch.timestamps[r.index]
	return timestamp, timestamp != noTimestamp
}

// Now is the time at which the record says it was made, in milliseconds since the Unix epoch, for use where a program
// would look at a clock: it is the same whenever the record is processed. 0 where there is no timestamp.
func (r *Record) Now() int64 {
	if timestamp, ok := r.Timestamp(); ok {
		return timestamp
	}
	return 0
}

// Random are random numbers that are the same whenever the record is processed, and others in another stage. Each call
// begins them anew.
func (r *Record) Random() Random {
	if !r.batch.seeded {
		r.batch.seed, r.batch.seeded = batchSeed(r.batch.topic, r.batch.partition), true
	}
	return Random{join(r.batch.seed, r.Offset())}
}

// Key is the key; nil is null.
func (r *Record) Key() []byte { return r.key }

// Value is the value; nil is a tombstone.
func (r *Record) Value() []byte { return r.value }

// Header is the value of the last header of this name, the one that counts where there are several; false where there
// is none.
func (r *Record) Header(name string) (value []byte, ok bool) {
	for key, each := range r.Headers() {
		if string(key) == name {
			value, ok = each, true
		}
	}
	return value, ok
}

// Headers are names and values, in order and with duplicates.
func (r *Record) Headers() iter.Seq2[[]byte, []byte] {
	return func(yield func(name, value []byte) bool) {
		if len(r.batch.counts) == 0 {
			return
		}
		names, values := r.batch.headersOf(r.index)
		for range r.batch.counts[r.index] {
			name, value := names.next(), values.next()
			if !yield(name, value) {
				return
			}
		}
	}
}

// Emit begins the one output that goes on in this record's place. It inherits all that is not set.
func (r *Record) Emit() *Output {
	r.batch.writer.begin(r)
	return r.batch.output(r)
}

// Split emits any number of outputs in this record's place, one Add each; none of them drops the record.
func (r *Record) Split() *Split { return &Split{r} }

// batch is consecutive records of one partition, in the runtime's columns.
type batch struct {
	topic       string
	partition   uint32
	offsets     []uint64
	timestamps  []int64
	keys        strings_
	values      strings_
	counts      []int32
	headerNames strings_
	headerVals  strings_

	// How far headers were read: moved only when they are asked for, as most plugins never do.
	headersRead int
	seed        uint64
	seeded      bool
	writer      writer
	current     Output
}

// headersOf gives the headers' columns from the record's first on.
func (b *batch) headersOf(index int) (names, values strings_) {
	for ; b.headersRead < index; b.headersRead++ {
		for range b.counts[b.headersRead] {
			b.headerNames.next()
			b.headerVals.next()
		}
	}
	return b.headerNames, b.headerVals
}

func (b *batch) output(of *Record) *Output {
	b.current = Output{of}
	return &b.current
}

// strings_ are byte strings that lie end to end, and how far they were read.
type strings_ struct {
	data    []byte
	lengths []int32
}

func (s *strings_) next() []byte {
	length := s.lengths[0]
	s.lengths = s.lengths[1:]
	if length < 0 {
		return nil
	}
	text := s.data[:length:length]
	s.data = s.data[length:]
	return text
}
