use std::fmt;

/// What must hold, whatever fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Invariant {
    /// I1: all outputs of every record below the committed offset are there.
    NothingLost,
    /// I2: exactly once: no output is there twice.
    ExactlyOnce,
    /// I3: at least once: only what one commit interval held is repeated, and only after a fault.
    RepeatsBounded,
    /// I4: outputs of an input partition keep its order in each output partition.
    InOrder,
    /// I5: no offset is committed before the outputs below it are durable.
    OutputsFirst,
    /// I6: committed offsets never go back.
    OffsetsForward,
    /// I7: what a reader of committed records saw stays.
    NothingUndone,
    /// I8: of a record's outputs there are all or none.
    AllOrNone,
    /// I9: everything is done in the end.
    NoLag,
    /// I10: destination, key, value, headers and timestamp are what they should be.
    Content,
    /// I11: memory stays within its bound.
    Memory,
}

impl Invariant {
    /// All of them, in their order.
    pub const ALL: [Invariant; 11] = [
        Invariant::NothingLost,
        Invariant::ExactlyOnce,
        Invariant::RepeatsBounded,
        Invariant::InOrder,
        Invariant::OutputsFirst,
        Invariant::OffsetsForward,
        Invariant::NothingUndone,
        Invariant::AllOrNone,
        Invariant::NoLag,
        Invariant::Content,
        Invariant::Memory,
    ];

    /// The number by which documents call it, and its words.
    pub fn name(self) -> &'static str {
        match self {
            Invariant::NothingLost => "I1 nothing lost",
            Invariant::ExactlyOnce => "I2 exactly once",
            Invariant::RepeatsBounded => "I3 repeats bounded",
            Invariant::InOrder => "I4 in order",
            Invariant::OutputsFirst => "I5 outputs first",
            Invariant::OffsetsForward => "I6 offsets forward",
            Invariant::NothingUndone => "I7 nothing undone",
            Invariant::AllOrNone => "I8 all or none",
            Invariant::NoLag => "I9 no lag",
            Invariant::Content => "I10 content",
            Invariant::Memory => "I11 memory",
        }
    }
}

impl fmt::Display for Invariant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// One way in which one invariant did not hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// Which.
    pub invariant: Invariant,
    /// Where and how: a sentence.
    pub what: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.invariant, self.what)
    }
}
