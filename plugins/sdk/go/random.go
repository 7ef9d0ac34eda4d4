package sluicegate

import (
	"encoding/binary"
	"math/bits"
)

// Random are random numbers of a record's own, from Record.Random: SplitMix64, seeded by pipeline, stage, topic, partition
// and offset. The numbers are the same as those of the other SDKs, and part of the interface. Not for secrets.
type Random struct {
	state uint64
}

const gamma = 0x9e3779b97f4a7c15

// Uint64 is the next number, any of the 2^64.
func (r *Random) Uint64() uint64 {
	r.state += gamma
	return mix(r.state)
}

// Below is the next number below a bound; 0 where that is 0.
func (r *Random) Below(bound uint64) uint64 {
	high, _ := bits.Mul64(r.Uint64(), bound)
	return high
}

// Float64 is the next number from 0 up to, but never, 1.
func (r *Random) Float64() float64 { return float64(r.Uint64()>>11) / (1 << 53) }

func mix(of uint64) uint64 {
	of = (of ^ (of >> 30)) * 0xbf58476d1ce4e5b9
	of = (of ^ (of >> 27)) * 0x94d049bb133111eb
	return of ^ (of >> 31)
}

func join(seed, with uint64) uint64 { return mix((seed + gamma) ^ with) }

// batchSeed is what the records of a batch have in common.
func batchSeed(topic string, partition uint32) uint64 {
	seed := join(hostStageSeed(), uint64(len(topic)))
	for at := 0; at < len(topic); at += 8 {
		var chunk [8]byte
		copy(chunk[:], topic[at:])
		seed = join(seed, binary.LittleEndian.Uint64(chunk[:]))
	}
	return join(seed, uint64(partition))
}
