//! Histories of other harnesses: Jepsen's EDN, and JSON of the same shape.
//!
//! One map an op: `{:process 0, :type :invoke, :f :acquire, :value nil, :time 10}`; one after the other, or all in one
//! vector. Of the ops only those that acquire and release a lock are read, by whatever verb ([`naming`]); others are
//! counted. Which key names the lock, the owner, the token and the validity is said by the user, or by the keys, or
//! else decided from the first part of the file ([`survey`]); what was decided is handed on with the history, in words.
//! The order of the file is the order of events, as Jepsen promises, unless every op has an `:index` that says
//! otherwise; `:time` (in nanoseconds) is bent a little where it says otherwise, and a file is refused in which it is
//! far from that. Deliberately absent: any judgement, and what is not about locks.

mod assemble;
mod fields;
mod naming;
mod notation;
mod stream;
mod survey;
#[cfg(test)]
mod tests;
mod unread;

use std::collections::BTreeMap;
use std::io::{self, Read};
use std::path::Path;

use super::edn::marks::Watched;
use super::file::HistoryError;
use super::source::READABLE;
use super::{CutOff, FORMAT, Header, History, Op};
use crate::fencing::Fencing;
use crate::history::EnvironmentName;
use crate::ids::LockName;
use crate::lock_kind::LockKind;
use crate::seed::Seed;
use assemble::{Assembly, Trouble, told_time};
use naming::{Keys, Role};
pub use naming::{Naming, Order};
use stream::{Place, Stream, StreamError};
use survey::{LockPlace, Places, SURVEYED, Survey};

/// What a history from elsewhere gives as its environment.
pub const FOREIGN: &str = "foreign";

/// A history from elsewhere.
#[derive(Clone, Debug)]
pub struct Foreign {
    /// Its acquires and releases, but for those of locks that no model can judge.
    pub history: History,
    /// How it was read.
    pub reading: Reading,
}

/// How a history was read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reading {
    /// What was taken for what: `lock`, `owner`, `token`, `validity`, `order`, each with a phrase.
    pub taken: BTreeMap<&'static str, String>,
    /// Ops that were passed over, by their `:f`.
    pub passed_over: BTreeMap<String, u64>,
    /// Locks that no model can judge, and why. Their ops are left out.
    pub unclear: BTreeMap<LockName, String>,
    /// What may have been read otherwise than it was meant, so that nothing that looks wrong need be wrong.
    pub doubts: Vec<String>,
    /// Whether what names locks are numbers, which may as well say how many permits are asked for.
    pub numbers_name: bool,
    /// Whether it was asked for how long holds are valid, and nothing says it.
    pub lacks_validity: bool,
}

impl Reading {
    /// How many ops were passed over.
    pub fn passed(&self) -> u64 {
        self.passed_over.values().sum()
    }
}

/// Reads a history, from wherever `open` opens it, twice if its ops have to be put in order.
///
/// # Errors
/// A source that cannot be read, or an op that is none, with its line: also one that breaks Jepsen's rules for
/// processes, since guessing what was meant would be judging something else.
pub fn read<R: Read>(open: impl Fn() -> io::Result<R>, path: &Path, naming: &Naming) -> Result<Foreign, HistoryError> {
    let failed = |error| told(path, error);
    let mut ops: Vec<Op> = Vec::new();
    let keys = Keys::new(naming);
    let in_file_order = matches!(naming.order, Order::Usual | Order::File);
    let mut passed = Err(Trouble::Disorder);
    if in_file_order {
        let stream = Stream::new(Watched::new(open().map_err(StreamError::Io).map_err(failed)?));
        passed = pass(stream, &keys, naming, |op| ops.push(op)).map_err(failed)?;
    }
    let passed = match passed {
        Ok(passed) => passed,
        Err(_) => {
            ops.clear();
            let stream = Stream::new(Watched::new(open().map_err(StreamError::Io).map_err(failed)?));
            sorted(stream, &keys, naming, |op| ops.push(op)).map_err(failed)?
        }
    };
    let reading = passed.reading(naming, &keys);
    if !reading.unclear.is_empty() {
        ops.retain(|op| op.lock.as_ref().is_none_or(|lock| !reading.unclear.contains_key(lock)));
        ops.iter_mut().zip(0..).for_each(|(op, index)| op.index = index);
    }
    Ok(Foreign {
        history: History {
            header: header(path, passed.clients, passed.kind),
            ops,
            servers: Vec::new(),
            cut_off: passed.cut_off,
        },
        reading,
    })
}

/// Hands on the ops of a history one by one, and gives it without them; nothing comes of it if they do not stand in
/// their order, or turn out to be of locks that no model can judge.
///
/// # Errors
/// Those of [`read`].
pub fn stream<R: Read>(
    reader: R,
    path: &Path,
    naming: &Naming,
    take: impl FnMut(Op),
) -> Result<Option<(History, Reading)>, HistoryError> {
    if !matches!(naming.order, Order::Usual | Order::File) {
        return Ok(None);
    }
    let keys = Keys::new(naming);
    let Ok(passed) = pass(Stream::new(Watched::new(reader)), &keys, naming, take).map_err(|error| told(path, error))?
    else {
        return Ok(None);
    };
    let reading = passed.reading(naming, &keys);
    let history = History {
        header: header(path, passed.clients, passed.kind),
        ops: Vec::new(),
        servers: Vec::new(),
        cut_off: passed.cut_off,
    };
    Ok(Some((history, reading)).filter(|(_, reading)| reading.unclear.is_empty()))
}

fn told(path: &Path, error: StreamError) -> HistoryError {
    match error {
        StreamError::Io(source) => HistoryError::Io { path: path.to_owned(), source },
        StreamError::Malformed(line, reason) => HistoryError::malformed(path, line, &reason),
    }
}

/// What came of going through a history.
struct Passed {
    places: Places,
    found: assemble::Found,
    clients: u32,
    sorted: bool,
    kind: LockKind,
    cut_off: Option<CutOff>,
}

/// Goes through the ops in the order of the stream.
fn pass<R: Read>(
    mut stream: Stream<Watched<R>>,
    keys: &Keys,
    naming: &Naming,
    mut take: impl FnMut(Op),
) -> Result<Result<Passed, Trouble>, StreamError> {
    let places = surveyed(&mut stream, keys)?;
    let mut assembly = Assembly::new(keys, naming, &places, stream.reader().is_ours());
    let mut count = 0;
    while let Some(taken) = stream.next(keys, |place, fields| (place, assembly.take(place.line, fields)))? {
        count += 1;
        match taken {
            (_, Ok(op)) => op.into_iter().for_each(&mut take),
            (place, Err(Trouble::Malformed(reason))) => {
                // If not even the first one is an op, it may be no history at all.
                let readable =
                    if count == 1 && reason.starts_with("lacks") { format!("; {READABLE}") } else { String::new() };
                return Err(StreamError::Malformed(place.line, reason + &readable));
            }
            (_, Err(Trouble::Disorder)) => return Ok(Err(Trouble::Disorder)),
        }
    }
    let (kind, cut_off) = (stream.reader().kind(), stream.reader().cut_off(count));
    let (found, clients) = finished(assembly, false)?;
    Ok(Ok(Passed { places, found, clients, sorted: false, kind, cut_off }))
}

/// Goes through the ops in the order of their indices, or of their times if the user says so.
fn sorted<R: Read>(
    mut stream: Stream<Watched<R>>,
    keys: &Keys,
    naming: &Naming,
    mut take: impl FnMut(Op),
) -> Result<Passed, StreamError> {
    let places = surveyed(&mut stream, keys)?;
    stream.fetch_all()?;
    let by_time = naming.order == Order::Time;
    let mut ops: Vec<(i128, Place)> = Vec::new();
    while let Some((place, rank)) = stream.next(keys, |place, fields| {
        let index = || fields.index.as_ref().and_then(notation::Value::number);
        (place, if by_time { told_time(fields).map(|time| time.map(i128::from)) } else { Ok(index()) })
    })? {
        let malformed = |reason| StreamError::Malformed(place.line, reason);
        let lacks = || {
            let (key, order) = if by_time { ("time", "file") } else { ("index", "file or --order time") };
            malformed(format!(
                "lacks :{key}, by which the ops are to be put in order; choose another way: --order {order}"
            ))
        };
        ops.push((rank.map_err(malformed)?.ok_or_else(lacks)?, place));
    }
    let (kind, cut_off) = (stream.reader().kind(), stream.reader().cut_off(ops.len() as u64));
    ops.sort_by_key(|(rank, _)| *rank);
    if let Some(pair) = ops.windows(2).find(|pair| !by_time && pair[0].0 == pair[1].0) {
        let reason = format!(
            "its :index is {}, and so is that of line {}, and the file is not in the order of its indices; choose what to \
             go by: --order file or --order time",
            pair[1].0, pair[0].1.line
        );
        return Err(StreamError::Malformed(pair[1].1.line, reason));
    }
    // The order is made; nothing need be compared again.
    let in_order = Naming { order: if by_time { Order::Time } else { Order::Usual }, ..naming.clone() };
    let mut assembly = Assembly::new(keys, &in_order, &places, stream.reader().is_ours());
    for (_, place) in ops {
        match assembly.take(place.line, &stream.again(place.at, keys)) {
            Ok(op) => op.into_iter().for_each(&mut take),
            Err(Trouble::Malformed(reason)) => return Err(StreamError::Malformed(place.line, reason)),
            Err(Trouble::Disorder) => {}
        }
    }
    let (found, clients) = finished(assembly, naming.order == Order::Index)?;
    Ok(Passed { places, found, clients, sorted: true, kind, cut_off })
}

fn surveyed<R: Read>(stream: &mut Stream<R>, keys: &Keys) -> Result<Places, StreamError> {
    let mut survey = Survey::default();
    stream.survey(SURVEYED, keys, |fields, op| survey.look(fields, op, keys))?;
    let places = survey.places(keys);
    for (key, option, role) in keys.chosen_keys() {
        let is_there = match role {
            Role::Lock => places.lock_key,
            Role::Owner => places.owners,
            _ => places.tokens,
        };
        if places.looked_at > 0 && !is_there {
            let reason =
                format!("no acquire or release has `{key}`, in the op or in a map in its :value ({option} {key})");
            return Err(StreamError::Malformed(1, reason));
        }
    }
    Ok(places)
}

fn finished(assembly: Assembly<'_>, whatever_the_times: bool) -> Result<(assemble::Found, u32), StreamError> {
    if let Some((line, back)) = assembly.goes_back().filter(|_| !whatever_the_times) {
        let reason = format!(
            "its :time is {:.3} ms before that of an op which comes earlier, which one clock does not do: are these parts of \
             several logs? Choose what to go by: --order time (all clocks are one), or --order {}",
            back as f64 / 1e6,
            if assembly.has_indices() { "index" } else { "file" }
        );
        return Err(StreamError::Malformed(line, reason));
    }
    let clients = assembly.clients();
    Ok((assembly.found, clients))
}

impl Passed {
    /// What was taken for what, in words.
    fn reading(&self, naming: &Naming, keys: &Keys) -> Reading {
        let Self { places, found, .. } = self;
        let mut taken = BTreeMap::new();
        let lock = match (places.lock_key, keys.lock_place(), places.lock) {
            (true, None, LockPlace::Nowhere) => "named by its own key".to_owned(),
            (true, None, _) => "named by its own key, or else by an invocation's :value".to_owned(),
            (_, Some("none"), _) => "one, as asked for".to_owned(),
            (.., LockPlace::First) => "named by the first of the pair in :value".to_owned(),
            (.., LockPlace::Value) if places.never_again => {
                "named by an invocation's :value; no name is asked for twice, so if these are ids of attempts, say \
                                                              --lock-key none"
                    .to_owned()
            }
            (.., LockPlace::Value) => "named by an invocation's :value".to_owned(),
            _ if places.ids => {
                "one; an invocation's :value is an id that is used once (--lock-key value reads it as a name)"
                    .to_owned()
            }
            _ => "one; nothing names it".to_owned(),
        };
        taken.insert("lock", lock);
        let named: Vec<String> =
            found.named.iter().take(8).map(|(client, name)| format!("{client} is {name}")).collect();
        let named = match (named.len(), found.named.len()) {
            (0, _) => String::new(),
            (told, all) if told < all => format!(" ({}, …)", named.join(", ")),
            _ => format!(" ({})", named.join(", ")),
        };
        let owner = match (places.owners, naming.threads) {
            (true, _) => "named by its own key",
            (false, Some(_)) => "the thread behind a process",
            (false, None) => "the process",
        };
        taken.insert("owner", format!("{owner}{named}"));
        let strange = match found.strange_tokens {
            0 => String::new(),
            count => format!("; {count} that are no numbers have no order and are not read"),
        };
        let token = match (keys.token_place(), places.value_token) {
            (Some("none"), _) => "not read, as asked for",
            (Some(_), _) | (None, true) => "by its own key, or a number in :value",
            (None, false) => "by its own key",
        };
        let token = if found.tokens == 0 { "no grant gives one" } else { token };
        taken.insert("token", format!("{token}{strange}"));
        if naming.leased {
            let validity = match (found.valid_until, found.without_validity) {
                (0, _) => "nothing says how long a hold is valid: no :valid-until, no :ttl, no --lease".to_owned(),
                (_, 0) => "told of every hold".to_owned(),
                (told, untold) => format!("told of {told} holds and not of {untold}, which end by their release only"),
            };
            taken.insert("validity", validity);
        }
        let order = match (naming.order, self.sorted) {
            (Order::Time, _) => "by :time, as asked for",
            (Order::Index, _) => "by :index, as asked for",
            (Order::File, _) => "that of the file, as asked for",
            (Order::Usual, true) => "by :index, in which the file is not",
            (Order::Usual, false) => "that of the file",
        };
        taken.insert("order", order.to_owned());
        if found.refused > 0 {
            taken.insert(
                "refused",
                format!("{} acquires that say they were not granted (:ok with false, 0 or nil)", found.refused),
            );
        }
        let mut doubts = Vec::new();
        if let Some(key) = places.unread.as_ref().filter(|_| keys.lock_place().is_none() && !places.lock_key)
            && places.lock == LockPlace::Nowhere
        {
            doubts.push(format!(
                "`{key}` may name the lock: say --lock-key {key}, or --lock-key none if all is one lock"
            ));
        }
        if let Some(answers) = found.shapes.several().filter(|_| naming.refused.is_empty()) {
            doubts.push(format!(
                "acquires that went well say different things ({}), and some may not have been granted: name what says so \
                 (--refused VALUE), or say --refused none",
                answers.join(", ")
            ));
        }
        if let Some(f) = &found.ends {
            doubts.push(format!(
                "`:{f}` of a client was passed over, and may end what it holds: tell that as a :release"
            ));
        }
        if let Some(shares) = &places.shares {
            doubts.push(format!(
                "{shares} may say that readers share the lock, which is read of verbs only: :acquire-read, with --model \
                 read-write"
            ));
        }
        if !doubts.is_empty() {
            taken.insert("doubts", doubts.join("; "));
        }
        Reading {
            taken,
            doubts,
            numbers_name: places.numbers_name && keys.lock_place().is_none(),
            passed_over: found.passed_over.clone(),
            unclear: found.unclear.clone(),
            lacks_validity: naming.leased && found.valid_until == 0 && found.without_validity > 0,
        }
    }
}

fn header(path: &Path, clients: u32, kind: LockKind) -> Header {
    let name = path.file_stem().map_or_else(|| FOREIGN.to_owned(), |stem| stem.to_string_lossy().into_owned());
    Header {
        fencepost: FORMAT,
        scenario: name,
        lock: FOREIGN.to_owned(),
        algorithm: FOREIGN.to_owned(),
        kind,
        environment: EnvironmentName::Foreign.into(),
        seed: Seed(0),
        clients,
        nodes: 0,
        fencing: Fencing::None.into(),
        content: Default::default(),
        planned_faults: 0,
        plan: Vec::new(),
        grant_within: None,
        leaves_within: None,
        api: None,
        clock_error: 0,
        versions: BTreeMap::new(),
    }
}
