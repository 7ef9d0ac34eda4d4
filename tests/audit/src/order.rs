/// How the outputs of one input partition came to lie in one output partition.
///
/// Outputs are counted in the order in which they first arrived. Whoever reads an input partition from some offset on
/// makes a run of outputs without a gap in that count; a run that begins anew needs a cause.
#[derive(Debug, Default)]
pub(crate) struct Order {
    /// Offset and index of the latest output that arrived for the first time.
    latest: Option<(u64, u32)>,
    firsts: u32,
    /// The last output of each run.
    heads: Vec<u32>,
}

impl Order {
    /// An output arrives for the first time: its place, and the output that should have come later if there is one.
    pub(crate) fn first(&mut self, output: (u64, u32)) -> (u32, Option<(u64, u32)>) {
        let later = self.latest.filter(|latest| *latest > output);
        self.latest = Some(output);
        self.firsts += 1;
        (self.firsts - 1, later)
    }

    /// An output of this place arrives, for the first time or again: whether it begins a run.
    pub(crate) fn begins_run(&mut self, place: u32) -> bool {
        match self.heads.iter_mut().rev().find(|head| **head + 1 == place) {
            Some(head) => {
                *head = place;
                false
            }
            None => {
                self.heads.push(place);
                true
            }
        }
    }

    pub(crate) fn runs(&self) -> usize {
        self.heads.len()
    }
}
