use std::time::Duration;

use crate::plan::ms;
use crate::seed::Random;

/// The points of a worker's life at which the world may intervene.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    Poll,
    Release,
    Rewind,
    Process,
    Renew,
    Begin,
    Write,
    Acknowledged,
    /// Before the outputs of a transaction are flushed.
    Commit,
    /// Before offsets are sent.
    Offsets,
    /// Before the end of a transaction is sent.
    End,
    /// What was sent took effect, and the answer is on its way.
    Answer,
    Abort,
}

/// What may go wrong at a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// The process is gone.
    Crash,
    /// The process sleeps until the group has given it up, while others live.
    Stall,
    /// The clock jumps ahead.
    Jump(Duration),
    /// The connection is lost: the call fails.
    Disconnect,
}

/// What goes wrong in this world, how often, until it calms down. Of each kind some worlds have none.
#[derive(Debug)]
pub(crate) struct Faults {
    left: u64,
    rates: Rates,
    /// Decides when the group is unsettled. Apart from the world's other chances, so that worlds without it stay as they
    /// were before there was such a fault.
    apart: Random,
    /// What struck so far.
    pub(crate) struck: Vec<Struck>,
}

/// What tells one chance from the other.
const APART: u64 = 0x5e77;

/// Times in a thousand.
#[derive(Debug)]
struct Rates {
    crash: u64,
    stall: u64,
    jump: u64,
    disconnect: u64,
    /// Partitions are taken away in good order.
    rebalance: u64,
    /// An output is refused.
    refuse: u64,
    /// An output's acknowledgement never comes.
    mute: u64,
    /// Nothing becomes durable for a while.
    outage: u64,
    /// A plugin's call fails, and the next may succeed.
    stumble: u64,
    /// The group takes no offsets.
    unsettled: u64,
}

/// A fault that struck: its kind, and the step where that matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Struck {
    kind: &'static str,
    at: Option<Step>,
}

impl std::fmt::Display for Struck {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.at {
            Some(at) => write!(f, "{} at {at:?}", self.kind),
            None => f.write_str(self.kind),
        }
    }
}

impl Faults {
    pub(crate) fn new(random: &mut Random) -> Self {
        let mut rate = |most| if random.chance(500) { random.between(1, most) } else { 0 };
        let mut rates = Rates {
            crash: rate(8),
            stall: rate(8),
            jump: rate(10),
            disconnect: rate(8),
            rebalance: rate(150),
            refuse: rate(10),
            mute: rate(10),
            outage: rate(10),
            stumble: rate(300),
            unsettled: 0,
        };
        let mut apart = Random::new(random.clone().number() ^ APART);
        rates.unsettled = if apart.chance(500) { apart.between(1, 200) } else { 0 };
        Faults { left: random.between(1, 12), rates, apart, struck: Vec::new() }
    }

    pub(crate) fn are_over(&self) -> bool {
        self.left == 0
    }

    pub(crate) fn end(&mut self) {
        self.left = 0;
    }

    /// What goes wrong at this step.
    pub(crate) fn strike(&mut self, at: Step, random: &mut Random) -> Option<Fault> {
        // There are far more writes than anything else, and few of what matters most.
        let weight = match at {
            Step::Write => 1,
            Step::Poll | Step::Acknowledged | Step::Process | Step::Renew => 3,
            Step::Release
            | Step::Rewind
            | Step::Begin
            | Step::Commit
            | Step::Offsets
            | Step::End
            | Step::Answer
            | Step::Abort => 12,
        };
        let Rates { crash, stall, jump, disconnect, .. } = self.rates;
        // A plugin has no connection to lose.
        let disconnect = if at == Step::Process { 0 } else { disconnect };
        let at = Some(at);
        if self.happens(crash * weight, "crash", at, random) {
            Some(Fault::Crash)
        } else if self.happens(stall * weight, "stall", at, random) {
            Some(Fault::Stall)
        } else if self.happens(jump * weight, "jump", at, random) {
            Some(Fault::Jump(ms(random.pick(&[5, 100, 1000, 20_000]))))
        } else if self.happens(disconnect * weight, "disconnect", at, random) {
            Some(Fault::Disconnect)
        } else {
            None
        }
    }

    pub(crate) fn rebalance(&mut self, random: &mut Random) -> bool {
        self.happens(self.rates.rebalance, "rebalance", None, random)
    }

    /// Whether the group takes no offsets now, being between two generations.
    pub(crate) fn unsettled(&mut self) -> bool {
        let mut apart = self.apart.clone();
        let happens = self.happens(self.rates.unsettled, "unsettled group", None, &mut apart);
        self.apart = apart;
        happens
    }

    pub(crate) fn refuse(&mut self, random: &mut Random) -> bool {
        self.happens(self.rates.refuse, "refused output", None, random)
    }

    pub(crate) fn mute(&mut self, random: &mut Random) -> bool {
        self.happens(self.rates.mute, "lost acknowledgement", None, random)
    }

    pub(crate) fn outage(&mut self, random: &mut Random) -> bool {
        self.happens(self.rates.outage, "outage", None, random)
    }

    /// Plugins are a matter of their own: they use up no other fault.
    pub(crate) fn stumble(&self, random: &mut Random) -> bool {
        self.left > 0 && random.chance(self.rates.stumble)
    }

    /// Something else that happened, and is no fault.
    pub(crate) fn note(&mut self, kind: &'static str) {
        self.struck.push(Struck { kind, at: None });
    }

    fn happens(&mut self, per_mille: u64, kind: &'static str, at: Option<Step>, random: &mut Random) -> bool {
        let happens = self.left > 0 && random.chance(per_mille);
        if happens {
            self.left -= 1;
            self.struck.push(Struck { kind, at });
        }
        happens
    }
}
