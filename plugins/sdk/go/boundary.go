//go:build wasip1

package sluicegate

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"strings"
	"unsafe"
)

// The layout of wit/plugin.wit in memory: lists are an address and a length, records are their fields. Addresses are 32
// bits wide, which Go's own pointers are not.
type (
	list         struct{ at, size uint32 }
	columnLayout struct{ data, lengths list }
	batchLayout  struct {
		topic               list
		partition           uint32
		offsets, timestamps list
		keys, values        columnLayout
		counts              list
		headerNames         columnLayout
		headerVals          columnLayout
	}
	outcomesLayout struct {
		outcomes, reasons, to, timestamps list
		keys, values                      columnLayout
		counts                            list
		headerNames                       columnLayout
		headerVals                        columnLayout
	}
)

//go:wasmimport sluicegate:plugin/log@0.1.0 log
func importLog(level int32, line unsafe.Pointer, size uint32)

//go:wasmimport sluicegate:plugin/metrics@0.1.0 count
func importCount(name unsafe.Pointer, size uint32, by uint64)

//go:wasmimport sluicegate:plugin/seed@0.1.0 stage
func hostStageSeed() uint64

func hostLog(level Level, line string) {
	importLog(int32(level), unsafe.Pointer(unsafe.StringData(line)), uint32(len(line)))
}

func hostCount(name string, by uint64) {
	importCount(unsafe.Pointer(unsafe.StringData(name)), uint32(len(name)), by)
}

// ---- Memory ----

// A collection that Go starts by itself may start while the runtime allocates arguments, and then looks at a clock, which
// a component must not do at that time. So none starts by itself: process does it, between records.
func init() {
	debug.SetGCPercent(-1)
	initialised = true
}

// What the adapter to WASI asks for while Go itself still starts comes from here: there is no heap yet.
var (
	initialised bool
	early       [128 << 10]byte
	earlyUsed   uint32
)

const (
	collectAfterBytes   = 16 << 20
	lookAfterRecords    = 64
	lookAfterBytes      = 1 << 20
	arenaBytesAtLeast   = 64 << 10
	argumentsAlignBytes = 8
)

// arena holds the arguments of the call at hand: one block from which the runtime's allocations are cut, and the blocks
// that were too small. All of it is free again when the call is over.
var arena struct {
	block []byte
	used  int
	full  [][]byte
}

//go:wasmexport cabi_realloc
func realloc(old, oldSize, align, size uint32) uint32 {
	if size == 0 {
		return align
	}
	if !initialised {
		start := (uint32(uintptr(unsafe.Pointer(&early))) + earlyUsed + align - 1) &^ (align - 1)
		earlyUsed = start + size - uint32(uintptr(unsafe.Pointer(&early)))
		return start
	}
	if oldSize >= size {
		return old
	}
	start := (arena.used + argumentsAlignBytes - 1) &^ (argumentsAlignBytes - 1)
	if start+int(size) > len(arena.block) {
		arena.full = append(arena.full, arena.block)
		arena.block = make([]byte, max(2*len(arena.block), int(size), arenaBytesAtLeast))
		start = 0
	}
	arena.used = start + int(size)
	at := unsafe.Pointer(&arena.block[start])
	if oldSize > 0 {
		copy(arena.block[start:], bytesAt(list{old, oldSize}))
	}
	return uint32(uintptr(at))
}

func freeArguments() { arena.used, arena.full = 0, nil }

var pacer = struct {
	sample []metrics.Sample
	// How many bytes had been allocated when it last collected, and when it last looked.
	collected, looked uint64
	// What came since it last looked, and after how many records it looks again.
	records, bytes, lookAfter uint64
}{sample: []metrics.Sample{{Name: "/gc/heap/allocs:bytes"}}}

// pace collects garbage when enough has come together since it last did. It looks again when half of what is left until
// then should be gone, by what the last records allocated.
func pace(record *Record) {
	pacer.records++
	pacer.bytes += uint64(len(record.value) + len(record.key))
	if pacer.records < pacer.lookAfter && pacer.bytes < lookAfterBytes {
		return
	}
	metrics.Read(pacer.sample)
	allocated := pacer.sample[0].Value.Uint64()
	if allocated-pacer.collected > collectAfterBytes {
		pacer.collected = allocated
		runtime.GC()
	}
	each := max((allocated-pacer.looked)/pacer.records, 1)
	left := collectAfterBytes - (allocated - pacer.collected)
	pacer.lookAfter = min(left/each/2, lookAfterRecords)
	pacer.looked, pacer.records, pacer.bytes = allocated, 0, 0
}

// ---- describe, configure, process ----

var description struct {
	name, version, summary list
	hasSchema              uint32
	schema                 list
}

//go:wasmexport sluicegate:plugin/lifecycle@0.1.0#describe
func describe() uint32 {
	about := &exported.about
	about.Name, about.Version, about.Summary = valid(about.Name), valid(about.Version), valid(about.Summary)
	description.name, description.version = ofString(about.Name), ofString(about.Version)
	description.summary, description.schema = ofString(about.Summary), ofString(exported.schema)
	description.hasSchema = 1
	return address(&description)
}

var configured struct {
	failed uint32
	reason list
	text   string
}

//go:wasmexport sluicegate:plugin/lifecycle@0.1.0#configure
func configure(config, configSize, outputs, outputsSize uint32) uint32 {
	defer explain()
	if exported.configure == nil {
		panic("no plugin: call sluicegate.Export from an init function")
	}
	var names []string
	for _, name := range sliceAt[list](list{outputs, outputsSize}) {
		names = append(names, string(bytesAt(name)))
	}
	process, err := exported.configure(string(bytesAt(list{config, configSize})), Outputs{names})
	freeArguments()
	exported.process = process
	configured.failed = 0
	if err != nil {
		configured.failed, configured.text = 1, valid(err.Error())
		configured.reason = ofString(configured.text)
	}
	return address(&configured)
}

var (
	current  batch
	returned outcomesLayout
	reasons  []list
)

//go:wasmexport sluicegate:plugin/batch-transform@0.1.0#process
func process(in uint32) uint32 {
	defer explain()
	layout := (*batchLayout)(pointer(in))
	current = batch{
		topic:       unsafe.String((*byte)(pointer(layout.topic.at)), layout.topic.size),
		partition:   layout.partition,
		offsets:     sliceAt[uint64](layout.offsets),
		timestamps:  sliceAt[int64](layout.timestamps),
		keys:        stringsAt(layout.keys),
		values:      stringsAt(layout.values),
		counts:      sliceAt[int32](layout.counts),
		headerNames: stringsAt(layout.headerNames),
		headerVals:  stringsAt(layout.headerVals),
		writer:      current.writer,
	}
	w := &current.writer
	w.reset()
	record := &Record{batch: &current}
	for i := range current.offsets {
		record.index, record.key, record.value = i, current.keys.next(), current.values.next()
		before := w.outputs
		w.close(exported.process(record), before)
		pace(record)
	}
	flushCounts()
	w.finish()
	freeArguments()
	lower(w)
	return address(&returned)
}

func lower(w *writer) {
	reasons = reasons[:0]
	for _, reason := range w.reasons {
		reasons = append(reasons, ofString(reason))
	}
	returned = outcomesLayout{
		outcomes:    ofSlice(w.outcomes),
		reasons:     ofSlice(reasons),
		to:          ofSlice(w.to),
		timestamps:  ofSlice(w.timestamps),
		keys:        ofColumn(&w.keys),
		values:      ofColumn(&w.values),
		counts:      ofSlice(w.counts),
		headerNames: ofColumn(&w.headerNames),
		headerVals:  ofColumn(&w.headerVals),
	}
}

// explain makes a panic show its own words and its place, and ends the instance: the runtime takes the last line of level
// error as the reason.
func explain() {
	panicked := recover()
	if panicked == nil {
		return
	}
	Log(Error, "panicked at %s: %v", place(), panicked)
	os.Exit(2)
}

// place is the line of the plugin, or of what it called, that panicked.
func place() string {
	callers := make([]uintptr, 32)
	frames := runtime.CallersFrames(callers[:runtime.Callers(2, callers)])
	panicking := false
	for {
		frame, more := frames.Next()
		isRuntime := strings.HasPrefix(frame.Function, "runtime.")
		if panicking && !isRuntime {
			return fmt.Sprintf("%s:%d", filepath.Base(frame.File), frame.Line)
		}
		panicking = panicking || isRuntime
		if !more {
			return "an unknown place"
		}
	}
}

// ---- Addresses ----

func pointer(at uint32) unsafe.Pointer { return unsafe.Pointer(uintptr(at)) }

func address[T any](of *T) uint32 { return uint32(uintptr(unsafe.Pointer(of))) }

func sliceAt[T any](at list) []T {
	if at.size == 0 {
		return nil
	}
	return unsafe.Slice((*T)(pointer(at.at)), at.size)
}

// bytesAt is never nil: null has no address.
func bytesAt(at list) []byte {
	if at.size == 0 {
		return []byte{}
	}
	return sliceAt[byte](at)
}

func stringsAt(at columnLayout) strings_ {
	return strings_{bytesAt(at.data), sliceAt[int32](at.lengths)}
}

func ofSlice[T any](of []T) list {
	if len(of) == 0 {
		return list{}
	}
	return list{uint32(uintptr(unsafe.Pointer(unsafe.SliceData(of)))), uint32(len(of))}
}

func ofColumn(of *column) columnLayout { return columnLayout{ofSlice(of.data), ofSlice(of.lengths)} }

func ofString(of string) list {
	if of == "" {
		return list{}
	}
	return list{uint32(uintptr(unsafe.Pointer(unsafe.StringData(of)))), uint32(len(of))}
}
