//! Any number of versions of one plugin, each of which puts its number before the values: `000007:value`.

use std::fs;

use anyhow::{Context, Result, ensure};
use sha2::{Digest, Sha256};

use crate::plugins::guest;
use crate::record::Record;

const MARK: &[u8] = b"SLUICEGATE-STAMP:";
const DIGITS: usize = 6;

/// The bytes of version `number`.
pub fn version(number: usize) -> Result<Vec<u8>> {
    mischievous(number, "good")
}

/// The same, up to something: `mute` cannot say what it is; `crsh`, `hang`, `fill` and `deny` are about its configuration,
/// `pick` about its schema, `trap` about every record, and of values that end with `odd`, `poor` crashes on them and `diff`
/// makes `oddly`.
pub fn mischievous(number: usize, mischief: &str) -> Result<Vec<u8>> {
    remark(fs::read(guest("stamp")?)?, number, mischief)
}

/// The same of a version's bytes, whatever was done to them since.
pub fn remark(mut bytes: Vec<u8>, number: usize, mischief: &str) -> Result<Vec<u8>> {
    let found = bytes.windows(MARK.len()).enumerate().filter(|(_, window)| *window == MARK);
    let places: Vec<usize> = found.map(|(at, _)| at + MARK.len()).collect();
    ensure!(places.len() == 1, "the mark is there {} times", places.len());
    let text = format!("{number:0DIGITS$}:{mischief}");
    bytes[places[0]..places[0] + text.len()].copy_from_slice(text.as_bytes());
    Ok(bytes)
}

/// The digest of a plugin's bytes, as the program writes it.
pub fn digest(bytes: &[u8]) -> String {
    format!("sha256:{}", hex::encode(Sha256::digest(bytes)))
}

/// The version that made this output, and the value without its stamp.
pub fn take_apart(output: &Record) -> Result<(usize, &[u8])> {
    let value = output.value.as_deref().context("a value")?;
    let (stamp, rest) = value.split_at_checked(DIGITS + 1).context("a stamp")?;
    Ok((std::str::from_utf8(&stamp[..DIGITS])?.parse()?, rest))
}
