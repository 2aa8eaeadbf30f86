//! A history of our own judged by one model of a lock while it is read: nothing of it is kept but what is open.
//!
//! It comes to the same as [`judge_model`](super::judge_model), or to nothing: where an op is malformed, where somebody
//! else struck, where a hold's end is told too late to be put in its place, or where something is broken, all ops have
//! to be known to tell what they amount to, and the history has to be read whole.

use super::assumptions::Assumed;
use super::linearizable::{FailedRelease, Model, ModelReplay};
use super::{Judgement, Verdict, judged};
use crate::history::{CutOff, F, Header, History, InOrder, Op, PlainStream, reaches_its_end};
use crate::time::Nanos;

/// A history in judgement.
pub struct ModelStream {
    in_order: InOrder,
    judges: Judges,
}

struct Judges {
    /// When the last op was.
    until: Nanos,
    goes_on: bool,
    assumed: Assumed,
    plain: PlainStream,
    replay: ModelReplay,
}

/// All ops have to be known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the history has to be read whole")]
pub struct NeedsAll;

impl ModelStream {
    /// Of a history with this header; nothing for a model that has to know all of it.
    pub fn new(header: &Header, model: Model, failed_release: FailedRelease) -> Option<Self> {
        let replay = match model {
            Model::Owned { lease: false, .. } => ModelReplay::new(header, model, failed_release),
            _ => return None,
        };
        let (assumed, plain) = (Assumed::default(), PlainStream::new());
        let judges = Judges { until: Nanos::ZERO, goes_on: true, assumed, plain, replay };
        Some(Self { in_order: InOrder::default(), judges })
    }

    /// Takes the next op of the file.
    ///
    /// # Errors
    /// It tells of something for which all ops have to be known, or is earlier than one before it.
    pub fn take(&mut self, op: Op) -> Result<(), NeedsAll> {
        let Self { in_order, judges } = self;
        in_order.take(op, &mut |op| judges.take(op)).map_err(|_| NeedsAll)?;
        if judges.goes_on { Ok(()) } else { Err(NeedsAll) }
    }

    /// What comes of it, with the history less its ops, and when the last of them was.
    ///
    /// # Errors
    /// All ops have to be known to say it.
    pub fn finish(self, header: &Header, cut_off: Option<CutOff>) -> Result<(History, Nanos, Judgement), NeedsAll> {
        let Self { mut in_order, mut judges } = self;
        in_order.finish(&mut |op| judges.take(op));
        if !judges.goes_on || !reaches_its_end(header, cut_off.as_ref()) {
            return Err(NeedsAll);
        }
        let assumed = judges.assumed.finish().ok_or(NeedsAll)?;
        let result = judges.replay.finish(header.kind);
        if result.verdict == Verdict::Invalid {
            return Err(NeedsAll);
        }
        let history = History { header: header.clone(), ops: Vec::new(), servers: Vec::new(), cut_off };
        let judgement = judged(&history, vec![assumed, result]);
        Ok((history, judges.until, judgement))
    }
}

impl Judges {
    fn take(&mut self, op: &Op) {
        let Self { until, goes_on, assumed, plain, replay } = self;
        *until = op.time;
        *goes_on = *goes_on
            && !matches!(op.f, F::Outside | F::Adapter)
            && assumed.take(op)
            && plain.take(op, &mut |op| replay.take(op));
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::super::judge_model;
    use super::super::tests::{properties, story::Story};
    use super::*;
    use crate::history::{OpType, file};

    const READINGS: [FailedRelease; 2] = [FailedRelease::EndsTheClaim, FailedRelease::DidNothing];

    /// So many ways there are to judge.
    const ALL: usize = 8;

    /// Judges op by op and whole; says in how many ways the first could be done.
    fn compared(name: &str, history: &History) -> usize {
        let mut streamed = 0;
        for model in ["owner-mutex", "fenced", "reentrant:2", "reentrant-fenced:3"] {
            let model: Model = model.parse().unwrap();
            for reading in READINGS {
                let mut stream = ModelStream::new(&history.header, model, reading).unwrap();
                let taken = history.ops.iter().try_for_each(|op| stream.take(op.clone()));
                let finished = taken.and_then(|()| stream.finish(&history.header, history.cut_off.clone()));
                streamed += usize::from(finished.is_ok());
                let whole = judge_model(history, model, reading);
                let Ok((kept, until, judgement)) = finished else { continue };
                assert_eq!(judgement, whole, "{name}: {model}, {reading}");
                assert_eq!((kept.header, kept.cut_off), (history.header.clone(), history.cut_off.clone()), "{name}");
                assert_eq!(until, history.end(), "{name}");
            }
        }
        streamed
    }

    #[test]
    fn op_by_op_it_comes_to_the_same_or_to_nothing() {
        let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("src/check/testdata");
        let (mut streamed, mut all) = ([0, 0, 0], [0, 0, 0]);
        for (kind, folder) in ["ok", "bad", "cut"].map(|name| folder.join(name)).into_iter().enumerate() {
            for entry in std::fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                let history = file::read(&path).unwrap();
                streamed[kind] += usize::from(compared(&path.display().to_string(), &history) == ALL);
                all[kind] += 1;
                // As of real servers, where parts of a history that is cut off may be missing.
                let mut real = history;
                real.header.environment = crate::history::EnvironmentName::Docker.into();
                compared(&path.display().to_string(), &real);
            }
        }
        assert!(streamed[0] * 10 > all[0] * 8, "{streamed:?} of {all:?}");
        assert!(streamed[1] < all[1], "{streamed:?} of {all:?}");
        // Of a release that failed not all readings say the same.
        let random = (0..300).map(|seed| compared(&format!("{seed}"), &properties::sequential(seed, true).history()));
        let random: usize = random.sum();
        assert!(random > 300 * ALL / 3 && random < 300 * ALL, "{random}");
    }

    #[test]
    fn what_has_to_be_known_whole_is_left_alone() {
        let taken = |tell: &dyn Fn(&mut Story)| {
            let mut story = Story::new(3);
            tell(&mut story);
            compared("told", &story.history()) > 0
        };
        let sound = |story: &mut Story| {
            story.acquire("c1-1", 1, 2, 1);
            story.release("c1-1", 3);
            story.acquire("c2-1", 2, 5, 2);
        };
        assert!(taken(&sound));
        for (what, tell) in [
            ("twice at once", (|story: &mut Story| drop(story.acquire("c3-1", 3, 6, 3).clone())) as fn(&mut Story)),
            ("malformed", |story| drop(story.op(7, "c2-1", OpType::Ok, F::Read).clone())),
            ("served what was never granted", |story| {
                let value = crate::history::ItemValue { item: 1, stock: 1, version: Some(0), based_on: None };
                let op = story.op(7, "c9-9", OpType::Ok, F::Read);
                (op.process, op.value) = (crate::history::Process::Resource, Some(value));
            }),
            ("somebody else struck", |story| {
                let op = story.op(7, "c2-1", OpType::Info, F::Outside);
                op.process = crate::history::Process::Outside;
            }),
            ("a nested hold is lost late", |story| {
                story.op(6, "c2-2", OpType::Invoke, F::Acquire);
                story.op(7, "c2-1", OpType::Ok, F::Lost);
            }),
        ] {
            let told = taken(&|story: &mut Story| {
                sound(story);
                tell(story);
            });
            assert!(!told, "{what}");
        }
        // Ops that do not stand in the order of time.
        let mut story = Story::new(2);
        sound(&mut story);
        let mut ops = story.ops;
        ops.swap(0, 3);
        let mut stream = ModelStream::new(&story.header, Model::OWNER, FailedRelease::EndsTheClaim).unwrap();
        assert_eq!(ops.into_iter().try_for_each(|op| stream.take(op)), Err(NeedsAll));
    }
}
