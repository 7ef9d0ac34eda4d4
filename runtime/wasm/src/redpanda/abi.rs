//! `redpanda_transform`, version 2: how a transform asks for records and hands over outputs.

use std::future::poll_fn;
use std::sync::Arc;

use tracing::Level;
use wasmtime::{AsContextMut, Caller, ExternType, Linker, Module};

use super::guest::State;
use super::memory;
use super::payload::{Output, topic_of};
use super::work::NoRecord;
use crate::engine::ticks;

const TRANSFORM: &str = "redpanda_transform";
const SCHEMAS: &str = "redpanda_schema_registry";

/// What the functions answer instead of a size.
const NO_ACTIVE_TRANSFORM: i32 = -1;
const INVALID_BUFFER: i32 = -2;
const INVALID_WRITE: i32 = -3;

/// The index of the default output.
const DEFAULT_OUTPUT: i32 = -1;

/// Where a guest wants a batch's head, field by field.
type HeadAddresses = (i32, i32, i32, i32, i32, i32, i32, i32, i32, i32);

/// Links the ABI. Whatever `module` imports of the schema registry is linked too, and fails when it is called.
pub(super) fn link(linker: &mut Linker<State>, module: &Module) -> wasmtime::Result<()> {
    // Which version is imported is all that there is to check.
    linker.func_wrap(TRANSFORM, "check_abi_version_2", || {})?;
    linker.func_wrap_async(TRANSFORM, "read_batch_header", |caller: Caller<'_, State>, into: HeadAddresses| {
        Box::new(read_batch_header(caller, into))
    })?;
    linker.func_wrap(TRANSFORM, "read_next_record", read_next_record)?;
    linker.func_wrap(TRANSFORM, "write_record", |mut caller: Caller<'_, State>, address: i32, size: i32| {
        write(&mut caller, (address, size), (0, 0))
    })?;
    linker.func_wrap(TRANSFORM, "write_record_with_options", write_with_options)?;
    for import in module.imports().filter(|import| import.module() == SCHEMAS) {
        if let ExternType::Func(of_type) = import.ty() {
            linker.func_new(SCHEMAS, import.name(), of_type, |_, _, _| Err(NoSchemaRegistry.into()))?;
        }
    }
    Ok(())
}

/// Gives back the batch that the guest has, and waits for the next. The only place where a guest is suspended.
async fn read_batch_header(mut caller: Caller<'_, State>, into: HeadAddresses) -> wasmtime::Result<i32> {
    give_back(caller.data_mut())?;
    let handover = Arc::clone(&caller.data().handover);
    let work = poll_fn(|_| handover.take()).await;

    let deadline = caller.data().deadline;
    caller.as_context_mut().set_epoch_deadline(ticks(deadline));
    let (memory, state) = memory::split(&mut caller);
    state.host.begin(&work.partition, deadline);
    let head = work.head();
    state.work = Some(work);
    let (base, count, epoch, attributes, delta, base_time, max_time, producer, producer_epoch, sequence) = into;
    memory::put(memory, base, head.base_offset.to_le_bytes())?;
    memory::put(memory, count, head.records.to_le_bytes())?;
    memory::put(memory, delta, head.last_offset_delta.to_le_bytes())?;
    memory::put(memory, base_time, head.base_timestamp.to_le_bytes())?;
    memory::put(memory, max_time, head.max_timestamp.to_le_bytes())?;
    // Only a broker knows these: there are no attributes, and -1 is Kafka's way to say that something is not known.
    memory::put(memory, attributes, 0i16.to_le_bytes())?;
    memory::put(memory, epoch, (-1i32).to_le_bytes())?;
    memory::put(memory, producer, (-1i64).to_le_bytes())?;
    memory::put(memory, producer_epoch, (-1i16).to_le_bytes())?;
    memory::put(memory, sequence, (-1i32).to_le_bytes())?;
    Ok(head.largest)
}

fn give_back(state: &mut State) -> wasmtime::Result<()> {
    state.host.log_stderr();
    state.record_time_ms = None;
    let Some(work) = state.work.take() else {
        return Ok(());
    };
    match work.unread() {
        0 => {
            state.handover.give_back(work);
            Ok(())
        }
        records => Err(Unread { records }.into()),
    }
}

fn read_next_record(
    mut caller: Caller<'_, State>,
    attributes: i32,
    timestamp: i32,
    offset: i32,
    buffer: i32,
    size: i32,
) -> wasmtime::Result<i32> {
    let (memory, state) = memory::split(&mut caller);
    let Some(work) = &mut state.work else {
        return Ok(NO_ACTIVE_TRANSFORM);
    };
    let (record, payload) = match work.next(memory::offset(size)) {
        Ok(next) => next,
        Err(NoRecord::End) => return Ok(NO_ACTIVE_TRANSFORM),
        Err(NoRecord::Large) => return Ok(INVALID_BUFFER),
    };
    state.record_time_ms = Some(record.timestamp).filter(|time| *time >= 0);
    memory::put(memory, attributes, [0])?;
    memory::put(memory, timestamp, record.timestamp.to_le_bytes())?;
    memory::put(memory, offset, record.offset.to_le_bytes())?;
    memory::bytes_mut(memory, buffer, payload.len())?.copy_from_slice(payload);
    // No payload is larger than the largest, which fits.
    Ok(i32::try_from(payload.len()).unwrap_or(INVALID_BUFFER))
}

fn write_with_options(
    mut caller: Caller<'_, State>,
    address: i32,
    size: i32,
    options: i32,
    options_size: i32,
) -> wasmtime::Result<i32> {
    write(&mut caller, (address, size), (options, options_size))
}

/// Takes an output from the guest's memory, and answers with its size.
fn write(caller: &mut Caller<'_, State>, payload: (i32, i32), options: (i32, i32)) -> wasmtime::Result<i32> {
    let (memory, state) = memory::split(caller);
    let (payload, options) =
        (memory::bytes(memory, payload.0, payload.1)?, memory::bytes(memory, options.0, options.1)?);
    // An output is always of the record that was read last.
    let Some(work) = state.work.as_mut().filter(|work| work.has_begun()) else {
        return Ok(NO_ACTIVE_TRANSFORM);
    };
    let (Some(output), Ok(topic)) = (Output::read(payload), topic_of(options)) else {
        return Ok(INVALID_BUFFER);
    };
    let to = match topic {
        None => DEFAULT_OUTPUT,
        Some(topic) => match state.world.output(topic) {
            Some(to) => to,
            None => {
                // The guest gets only a number. If the record then fails, this becomes its reason.
                let line =
                    format!("it writes to topic '{topic}', of which the sink has no output: add it to 'outputs'");
                state.host.log.line(Level::ERROR, &line);
                return Ok(INVALID_WRITE);
            }
        },
    };
    work.write(output, payload.len(), to)?;
    Ok(i32::try_from(payload.len()).unwrap_or(INVALID_BUFFER))
}

/// A guest asked for another batch too early: the records that it has not read would be lost.
#[derive(Debug, thiserror::Error)]
#[error("asked for another batch before it had read the last {records} records of this one")]
struct Unread {
    records: usize,
}

#[derive(Debug, thiserror::Error)]
#[error(
    "it asks Redpanda's schema registry, which is not supported yet: give the transform its schemas by its configuration"
)]
struct NoSchemaRegistry;
