//! `sluicegate`: see `sluicegate --help`.

use std::process::ExitCode;

/// Serves librdkafka too (feature `override`): an allocator that keeps its pages saves about a tenth of the CPU time a
/// record, which the kernel would spend on clearing pages for large buffers that come and go.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    sluicegate::cli::main()
}
