//! What the way in which another harness's history was read makes of its verdict.
//!
//! What could not be read is not judged, and what nothing was said of is no contradiction: such a verdict is `unknown`,
//! with the reason. Deliberately absent: the reading itself, which is the history's.

use super::{CheckName, FailedRelease, Judgement, Model, Verdict, judge_model};
use crate::history::History;
use crate::history::foreign::Reading;

/// Judges a history of another harness by one model, as it was read.
pub fn judge_foreign(history: &History, reading: &Reading, model: Model, failed_release: FailedRelease) -> Judgement {
    qualified(judge_model(history, model, failed_release), reading, model)
}

/// The judgement that is left when it is known how the history was read.
pub fn qualified(mut judgement: Judgement, reading: &Reading, model: Model) -> Judgement {
    let Some(result) = judgement.checks.iter_mut().find(|result| result.check == CheckName::Linearizable) else {
        return judgement;
    };
    if reading.lacks_validity {
        if result.verdict == Verdict::Invalid {
            result.verdict = Verdict::Unknown;
            result.violations.clear();
        }
        result.summary += " Nothing says how long a hold is valid (no :valid-until, no :ttl), so +lease had nothing to go by, \
                           and any hold may have ended by itself: give it as --lease 10s.";
    }
    if result.verdict == Verdict::Invalid && !reading.doubts.is_empty() {
        result.verdict = Verdict::Unknown;
        result.violations.clear();
        result.summary +=
            &format!(" It may have been read otherwise than it was meant: {}.", reading.doubts.join("; "));
    }
    if result.verdict == Verdict::Invalid && reading.numbers_name && matches!(model, Model::Semaphore { .. }) {
        result.verdict = Verdict::Unknown;
        result.violations.clear();
        result.summary += " The numbers in :value were read as names of locks, and may say how many permits are asked for: \
                           --lock-key value, if they are names; each op counts as one permit.";
    }
    if !reading.unclear.is_empty() {
        result.verdict = result.verdict.merge(Verdict::Unknown);
        for (lock, why) in reading.unclear.iter().take(5) {
            result.summary += &format!(" Lock `{lock}` is not judged: {why}.");
        }
        if let more @ 1.. = reading.unclear.len().saturating_sub(5) {
            result.summary += &format!(" So are {more} more.");
        }
    }
    let of_one = matches!(model, Model::Mutex | Model::Owned { .. });
    if of_one && result.verdict == Verdict::Invalid {
        result.summary += " If several may hold it at once, say so: --model semaphore:K judges it with K permits. If its holder \
                           may take it again, say so too: --model reentrant:K.";
    }
    Judgement::of(judgement.checks)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::{Path, PathBuf};

    use clap::Parser;

    use super::*;
    use crate::cli::{CheckArgs, Cli, Verb};
    use crate::history::foreign;
    use crate::history::source::{Notation, Source};

    /// A fixture's first line, if it is a comment, has the options with which it is read.
    fn options(path: &Path) -> CheckArgs {
        let text = fs::read_to_string(path).unwrap();
        let line = text
            .lines()
            .next()
            .and_then(|line| line.trim_start_matches('\u{feff}').strip_prefix("; "))
            .unwrap_or("--model owner-mutex");
        let path = path.to_str().unwrap();
        let Verb::Check(args) = Cli::parse_from(["fencepost", "check", path].into_iter().chain(line.split(' '))).verb
        else {
            panic!("{path}: {line}")
        };
        args
    }

    fn judged(path: &Path) -> Result<(Verdict, String), String> {
        let args = options(path);
        let source = Source::of(path).map_err(|error| error.to_string())?;
        assert_eq!(source.notation, Notation::Foreign, "{}", path.display());
        let model = args.model.unwrap();
        let naming = args.naming.naming(Some(model));
        let read = foreign::read(|| source.open(), path, &naming).map_err(|error| error.to_string())?;
        let judgement = judge_foreign(&read.history, &read.reading, model, FailedRelease::EndsTheClaim);
        // The same op by op, where that can be done.
        if let Some(mut replay) = crate::check::ModelReplay::streaming(model, FailedRelease::EndsTheClaim) {
            let streamed = foreign::stream(source.open().unwrap(), path, &naming, |op| replay.take(&op)).unwrap();
            if let Some((history, reading)) = streamed {
                let result = replay.finish(history.header.kind);
                let streamed = qualified(crate::check::judged(&history, vec![result]), &reading, model);
                assert_eq!(streamed, judgement, "{}", path.display());
            }
        }
        Ok((judgement.verdict, format!("{:?} {:?}", read.reading, judgement.checks)))
    }

    fn fixtures(folder: &str) -> Vec<PathBuf> {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/check/testdata/foreign").join(folder);
        let mut paths: Vec<PathBuf> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
        paths.sort();
        assert!(paths.len() > 4, "{paths:?}");
        paths
    }

    #[test]
    fn other_harnesses_histories_get_the_verdict_of_their_folder() {
        let mut wrong = Vec::new();
        for (folder, expected) in
            [("valid", Verdict::Valid), ("invalid", Verdict::Invalid), ("unknown", Verdict::Unknown)]
        {
            for path in fixtures(folder) {
                match judged(&path) {
                    Ok((verdict, _)) if verdict == expected => {}
                    other => wrong.push(format!("{folder} {}: {other:?}", path.file_name().unwrap().display())),
                }
            }
        }
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    }

    #[test]
    fn what_cannot_be_read_is_refused_with_a_remedy() {
        for path in fixtures("refused") {
            let error = judged(&path).unwrap_err();
            let remedies = ["--", "bracket", "what can be read", "an op has", "goes on"];
            assert!(remedies.iter().any(|remedy| error.contains(remedy)), "{error}");
        }
    }

    #[test]
    fn a_history_that_is_changed_anywhere_is_judged_or_refused_with_its_line() {
        use rand::RngExt;

        let mut seen = [0u32; 2];
        for path in ["valid", "invalid", "unknown", "refused"].into_iter().flat_map(fixtures) {
            let bytes = fs::read(&path).unwrap();
            let lines = bytes.split(|byte| *byte == b'\n').count();
            let mut rng = crate::seed::Seed(bytes.len() as u64).stream("changed");
            for turn in 0..16 {
                let mut changed = bytes.clone();
                for _ in 0..=turn % 3 {
                    let at = rng.random_range(0..changed.len());
                    match turn % 4 {
                        0 => changed.truncate(at.max(1)),
                        1 => changed[at] = b"{}[]()\"\\#^:,;_0-N\n \xff"[rng.random_range(0..20)],
                        2 => drop(changed.remove(at)),
                        _ => {
                            let from = rng.random_range(0..changed.len());
                            changed[at] = changed[from];
                        }
                    }
                }
                let naming = foreign::Naming { leased: turn % 2 == 0, readers: turn % 3 == 0, ..Default::default() };
                match foreign::read(|| Ok(&changed[..]), &path, &naming) {
                    Ok(read) => {
                        for model in
                            ["mutex", "owner-mutex", "fenced+lease", "reentrant-fenced:2", "semaphore:2", "read-write"]
                        {
                            let model: Model = model.parse().unwrap();
                            let judgement =
                                judge_foreign(&read.history, &read.reading, model, FailedRelease::EndsTheClaim);
                            for result in &judgement.checks {
                                assert_eq!(
                                    result.verdict == Verdict::Invalid,
                                    !result.violations.is_empty(),
                                    "{result:?}"
                                );
                            }
                        }
                        seen[0] += 1;
                    }
                    Err(crate::history::file::HistoryError::Malformed { line, .. }) => {
                        assert!((1..=lines + 1).contains(&line), "{line}: {}", String::from_utf8_lossy(&changed));
                        seen[1] += 1;
                    }
                    Err(other) => panic!("{other}"),
                }
            }
        }
        assert!(seen.iter().all(|count| *count > 200), "too little was read, or refused: {seen:?}");
    }
}
