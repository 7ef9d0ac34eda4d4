use std::time::SystemTime;

use super::*;

fn open(parent: &Path) -> Result<Journal, Broken> {
    Journal::open(PipelineFolder::new(parent.join("p")))
}

fn entry(number: usize, ended: Ended) -> Entry {
    Entry {
        time: time(SystemTime::UNIX_EPOCH),
        action: Action::Load,
        stage: Some("s".into()),
        digest: Some(number.to_string()),
        before: None,
        who: "me".into(),
        why: None,
        ended,
        reason: (ended == Ended::Refused).then(|| "no".into()),
    }
}

#[test]
fn what_is_kept_is_there_after_a_restart_and_bounded() {
    let folder = tempfile::tempdir().unwrap();
    let open = || open(folder.path()).unwrap();
    let journal = open();
    journal.keep_plugin(b"d");
    let change = RunTimeChange { digest: Digest::of(b"d"), file: Digest::of(b"f") };
    journal.keep("s", Some(change.clone())).unwrap();
    journal.keep_paused(true).unwrap();
    (0..ENTRIES_MAX + 5).for_each(|number| journal.note("p", entry(number, Ended::Done)));
    assert!(journal.last_refusal("s").is_none());
    journal.note("p", entry(0, Ended::Refused));
    drop(journal);
    let again = open();
    assert_eq!((again.run_time_change("s"), again.is_paused()), (Some(change), true));
    assert_eq!(again.history().len(), ENTRIES_MAX);
    assert_eq!(again.last_refusal("s").unwrap().reason.as_deref(), Some("no"));
    again.keep("s", None).unwrap();
    drop(again);
    assert_eq!(open().run_time_change("s"), None);
}

/// As where the folder's volume hangs: here, where a pipe has the name of the lock, which nobody opens at the other end.
#[test]
fn whoever_looks_waits_for_no_disk() {
    let folder = tempfile::tempdir().unwrap();
    let journal = std::sync::Arc::new(open(folder.path()).unwrap());
    let pipe = folder.path().join("p/lock");
    assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let (writer, looker) = (journal.clone(), journal.clone());
    let writing = std::thread::spawn(move || writer.note("p", entry(0, Ended::Refused)));
    let (send, seen) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        while looker.last_refusal("s").is_none() {
            std::thread::yield_now();
        }
        send.send(()).unwrap();
    });
    seen.recv_timeout(std::time::Duration::from_secs(60)).expect("an answer");
    assert!(!writing.is_finished());
    drop(std::fs::File::open(&pipe).unwrap());
    writing.join().unwrap();
}

#[test]
fn kept_plugins_are_what_their_digests_say() {
    let folder = tempfile::tempdir().unwrap();
    let journal = open(folder.path()).unwrap();
    let digest = Digest::of(b"wasm");
    assert!(journal.plugin(&digest, 100).is_err());
    journal.keep_plugin(b"wasm");
    assert_eq!(journal.plugin(&digest, 100).unwrap(), b"wasm");
    assert!(journal.plugin(&digest, 3).unwrap_err().contains("longer than 3 bytes"));
    std::fs::write(folder.path().join(format!("p/plugins/{}.wasm", digest.hex())), "other").unwrap();
    assert!(journal.plugin(&digest, 100).unwrap_err().contains("other bytes"));
    journal.keep_plugin(b"wasm");
    assert_eq!(journal.plugin(&digest, 100).unwrap(), b"wasm", "what is damaged is kept once more");
    journal.forget_plugins_but(BTreeSet::new());
    assert!(journal.plugin(&digest, 100).unwrap_err().contains("No such file"));
}

/// As on a full disk: here, where a file has the name of the plugins' folder.
#[test]
fn a_plugin_that_cannot_be_written_is_held_and_the_folder_names_none_that_it_lacks() {
    let folder = tempfile::tempdir().unwrap();
    let journal = open(folder.path()).unwrap();
    let plugins = folder.path().join("p/plugins");
    std::fs::remove_dir(&plugins).unwrap();
    std::fs::write(&plugins, "").unwrap();
    let change = RunTimeChange { digest: Digest::of(b"wasm"), file: Digest::of(b"f") };
    journal.keep_plugin(b"wasm");
    assert!(journal.keep("s", Some(change.clone())).unwrap_err().contains("plugins"));
    assert_eq!(journal.run_time_change("s"), Some(change.clone()));
    assert_eq!(journal.plugin(&change.digest, 100).unwrap(), b"wasm");
    assert!(!std::fs::read_to_string(folder.path().join("p/state.json")).unwrap().contains(change.digest.hex()));

    std::fs::remove_file(&plugins).unwrap();
    std::fs::create_dir(&plugins).unwrap();
    journal.keep("s", Some(change.clone())).unwrap();
    drop(journal);
    let again = open(folder.path()).unwrap();
    assert_eq!(again.plugin(&change.digest, 100).unwrap(), b"wasm");
    assert_eq!(again.run_time_change("s"), Some(change));
}

#[test]
fn without_a_folder_everything_is_known_until_the_end_and_nothing_is_promised() {
    let journal = Journal::default();
    let change = RunTimeChange { digest: Digest::of(b"wasm"), file: Digest::of(b"f") };
    journal.keep_plugin(b"wasm");
    assert!(journal.keep("s", Some(change.clone())).is_err() && journal.keep_paused(true).is_err());
    journal.forget_plugins_but(BTreeSet::new());
    assert_eq!(journal.plugin(&change.digest, 100).unwrap(), b"wasm", "a stage runs it");
    assert!(journal.keep("s", None).is_ok() && journal.keep_paused(false).is_ok());
    journal.forget_plugins_but(BTreeSet::new());
    assert!(journal.plugin(&change.digest, 100).is_err());
}

#[test]
fn a_history_of_the_longest_words_can_be_read() {
    let folder = tempfile::tempdir().unwrap();
    let journal = open(folder.path()).unwrap();
    let words = "\u{1b}ä".repeat(100_000);
    for number in 0..ENTRIES_MAX {
        let said = Some(words.clone());
        journal.note(
            "p",
            Entry { action: Action::Configure, why: said.clone(), reason: said, ..entry(number, Ended::Refused) },
        );
    }
    assert!(journal.is_last_file_refusal(&words) && !journal.is_last_file_refusal("other"));
    drop(journal);
    assert_eq!(open(folder.path()).unwrap().history().len(), ENTRIES_MAX);
}

#[test]
fn a_damaged_file_is_named() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("p")).unwrap();
    std::fs::write(folder.path().join("p/state.json"), "{").unwrap();
    let broken = open(folder.path()).err().unwrap();
    assert!(matches!(broken, Broken::Content(error) if error.contains("remove it to forget")));
    // Nor is one that cannot be read taken for one that is not there.
    std::fs::remove_file(folder.path().join("p/state.json")).unwrap();
    std::fs::create_dir(folder.path().join("p/state.json")).unwrap();
    assert!(matches!(open(folder.path()).err().unwrap(), Broken::Content(_)));
}

#[test]
fn what_a_later_release_has_kept_is_read() {
    let folder = tempfile::tempdir().unwrap();
    let journal = open(folder.path()).unwrap();
    journal.note("p", entry(0, Ended::Done));
    drop(journal);
    let file = folder.path().join("p/state.json");
    let text = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, text.replace("\"load\"", "\"swap-halves\"").replacen('{', "{\"new\": 1,", 1)).unwrap();
    let history = open(folder.path()).unwrap().history();
    assert_eq!(history.iter().map(|entry| entry.action).collect::<Vec<_>>(), [Action::Other]);
}
