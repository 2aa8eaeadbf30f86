//! Drives one program: sends requests one at a time, listens, and copes with whatever it does.
//!
//! A task of its own owns the process. A request that brought no proper answer is in doubt, never failed: only a
//! request that was not sent certainly did nothing. Deliberately absent: what a lock is; that is [`super::lock`]'s.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

use super::misdeed::{Gravity, Misdeed, Witness};
use super::program::{Heard, Program, Spec};
use super::protocol::{Answer, Capability, Hello, Message, NotAMessage, Outcome, Request, Verb};
use crate::lock::{Hold, LostReason, UNSTATED};
use crate::time::{BootClock, Clock, Nanos};

/// How long a program may take to introduce itself.
pub(super) const HELLO_LIMIT: Duration = Duration::from_secs(20);

/// How long an answer may take, beyond what an acquire may wait.
const ANSWER_LIMIT: Duration = Duration::from_secs(10);

/// Time is counted in steps of this length, so that a client that was frozen, its program with it, finds at most one
/// step gone when it thaws.
const STEP: Duration = Duration::from_millis(100);

/// More lines than this between two requests are a flood.
const FLOOD: u32 = 1_000;

/// How often in a row a program may fail.
const FAILURES: u32 = 3;

/// Time limits, for tests that have no patience.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    pub hello: Duration,
    pub answer: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self { hello: HELLO_LIMIT, answer: ANSWER_LIMIT }
    }
}

/// A request, and where its reply goes. Whoever no longer waits for a grant does not get it: it is given back.
pub(super) struct Ask {
    pub verb: Verb,
    pub lock: String,
    pub wait: Duration,
    /// For all but an acquire: the hold that it is about.
    pub hold: Option<Arc<Hold>>,
    pub reply: oneshot::Sender<Reply>,
}

/// What became of a request.
pub(super) enum Reply {
    /// The program answered; with the hold, if that was a grant.
    Answered { answer: Answer, until: Nanos, hold: Option<Arc<Hold>> },
    /// It may have been carried out, or may yet be.
    InDoubt(String),
    /// It was never sent.
    NotSent(String),
}

/// The task that owns the program.
pub(super) struct Driver {
    spec: Spec,
    limits: Limits,
    asks: mpsc::UnboundedReceiver<Ask>,
    witness: Arc<dyn Witness>,
    program: Option<Program>,
    /// Who the first one was; later ones must offer the same.
    hello: Option<Hello>,
    last_id: u64,
    /// The holds that the program is believed to have, by lock.
    held: Vec<(String, Arc<Hold>)>,
    lines: u32,
    failures: u32,
    told: BTreeSet<String>,
}

impl Driver {
    pub fn new(spec: Spec, limits: Limits, asks: mpsc::UnboundedReceiver<Ask>, witness: Arc<dyn Witness>) -> Self {
        Self {
            spec,
            limits,
            asks,
            witness,
            program: None,
            hello: None,
            last_id: 0,
            held: Vec::new(),
            lines: 0,
            failures: 0,
            told: BTreeSet::new(),
        }
    }

    /// Starts the program for the first time: who it is.
    pub async fn open(&mut self) -> Result<Hello, String> {
        let (program, hello) = self.introduced().await?;
        self.program = Some(program);
        self.hello = Some(hello.clone());
        Ok(hello)
    }

    /// Serves requests until nobody can make any more.
    pub async fn run(mut self) {
        loop {
            let ask = match &mut self.program {
                None => self.asks.recv().await,
                Some(program) => tokio::select! {
                    biased;
                    heard = program.hear() => {
                        self.unasked(heard).await;
                        continue;
                    }
                    ask = self.asks.recv() => ask,
                },
            };
            let Some(ask) = ask else { break };
            self.serve(ask).await;
        }
        if let Some(program) = self.program.take() {
            program.dismiss().await;
        }
    }

    async fn serve(&mut self, ask: Ask) {
        if let Err(why) = self.ready().await {
            return drop(ask.reply.send(Reply::NotSent(why)));
        }
        if ask.verb != Verb::Acquire && !self.has(ask.hold.as_ref()) {
            let why = "the program that held it has ended".to_owned();
            return drop(ask.reply.send(Reply::InDoubt(why)));
        }
        let wait = (ask.verb == Verb::Acquire).then_some(ask.wait);
        let reply = match self.ask(ask.verb, &ask.lock, wait).await {
            Ok((answer, until)) => {
                let hold = self.settle(&ask, &answer, until);
                Reply::Answered { answer, until, hold }
            }
            Err(why) => Reply::InDoubt(why),
        };
        let Err(Reply::Answered { hold: Some(hold), .. }) = ask.reply.send(reply) else { return };
        // Nobody waits for the grant any more.
        self.held.retain(|(_, held)| !Arc::ptr_eq(held, &hold));
        if self.program.is_some() {
            let _ = self.ask(Verb::Release, &ask.lock, None).await;
        }
    }

    /// Keeps the books of what the program holds.
    fn settle(&mut self, ask: &Ask, answer: &Answer, until: Nanos) -> Option<Arc<Hold>> {
        match (ask.verb, answer.result) {
            (Verb::Acquire, Outcome::Ok) => {
                let hold = Hold::new(until);
                self.held.push((ask.lock.clone(), Arc::clone(&hold)));
                return Some(hold);
            }
            (Verb::Release, _) => {
                self.held.retain(|(_, held)| ask.hold.as_ref().is_none_or(|hold| !Arc::ptr_eq(held, hold)));
            }
            _ => {}
        }
        None
    }

    fn offers(&self, capability: Capability) -> bool {
        self.hello.as_ref().is_some_and(|hello| hello.capabilities.contains(&capability))
    }

    fn has(&self, hold: Option<&Arc<Hold>>) -> bool {
        hold.is_some_and(|hold| self.held.iter().any(|(_, held)| Arc::ptr_eq(held, hold)))
    }

    /// Sees that a program runs.
    async fn ready(&mut self) -> Result<(), String> {
        while self.program.is_none() {
            if self.failures >= FAILURES {
                return Err(format!("`{}` failed {FAILURES} times in a row", self.spec.shown()));
            }
            match self.introduced().await {
                Ok((program, hello)) => {
                    if self.hello.as_ref().is_some_and(|first| *first != hello) {
                        self.tell(Gravity::Breach, "introduces itself otherwise than when it was started first");
                    }
                    self.program = Some(program);
                }
                Err(why) => self.failed(why),
            }
        }
        Ok(())
    }

    /// Starts a program and waits for its first message.
    async fn introduced(&mut self) -> Result<(Program, Hello), String> {
        let mut program = Program::start(&self.spec)?;
        self.lines = 0;
        let mut steps = steps(self.limits.hello);
        loop {
            let heard = match timeout(STEP, program.hear()).await {
                Ok(heard) => heard,
                Err(_) if steps == 0 => {
                    let limit = self.limits.hello;
                    let words = program.kill().await;
                    return Err(format!(
                        "did not introduce itself within {limit:?} of its start{words}; its first line must be \
                         {{\"hello\":{{\"name\":…,\"version\":…,\"capabilities\":[…]}}}}, flushed"
                    ));
                }
                Err(_) => {
                    steps -= 1;
                    continue;
                }
            };
            self.lines += 1;
            let why = match heard {
                Heard::Line(line) => match Message::parse(&line) {
                    Ok(Message::Hello(hello)) => return Ok((program, hello)),
                    Err(NotAMessage::Noise) => match self.noise(&line) {
                        Ok(()) => continue,
                        Err(why) => why,
                    },
                    Err(NotAMessage::Malformed(why)) => {
                        format!("introduced itself in a way that cannot be read: {why}: {}", cut(&line))
                    }
                    Ok(_) => format!("said {} before its hello", cut(&line)),
                },
                Heard::TooLong => "printed a line of more than 64 KiB before its hello".to_owned(),
                Heard::Closed => "ended before it had introduced itself".to_owned(),
            };
            let words = program.kill().await;
            return Err(why + &words);
        }
    }

    /// Makes a request and waits for the answer, and until when it makes the hold valid; or why it is in doubt.
    async fn ask(&mut self, verb: Verb, lock: &str, wait: Option<Duration>) -> Result<(Answer, Nanos), String> {
        let Some(program) = &mut self.program else { return Err("there is no program".to_owned()) };
        self.last_id += 1;
        self.lines = 0;
        let wait_ms = wait.map(|wait| u64::try_from(wait.as_millis()).unwrap_or(u64::MAX));
        let request = Request { id: self.last_id, op: verb, lock: lock.to_owned(), wait_ms };
        let line = serde_json::to_string(&request).map_err(|error| error.to_string())?;
        let asked = BootClock.now();
        let limit = self.limits.answer + wait.unwrap_or_default();
        // A program that does not read is as silent as one that does not answer.
        match timeout(limit, program.say(&line)).await {
            Ok(Ok(())) => {}
            Ok(Err(_)) => return Err(self.lose("ended", verb).await),
            Err(_) => return Err(self.lose("does not read its standard input", verb).await),
        }
        let mut steps = steps(limit);
        loop {
            let Some(program) = &mut self.program else { return Err("there is no program".to_owned()) };
            let heard = match timeout(STEP, program.hear()).await {
                Ok(heard) => heard,
                Err(_) if steps == 0 => {
                    return Err(self.lose(&format!("did not answer within {limit:?}"), verb).await);
                }
                Err(_) => {
                    steps -= 1;
                    continue;
                }
            };
            let received = BootClock.now();
            match self.heard(heard, Some(&request)) {
                Taken::Nothing => {}
                Taken::Failure(why) => return Err(self.lose(&why, verb).await),
                Taken::Answer(answer) => {
                    self.failures = 0;
                    let until = self.until(&answer, asked, received);
                    return Ok((answer, until));
                }
            }
        }
    }

    /// Something said while nothing was asked.
    async fn unasked(&mut self, heard: Heard) {
        if let Taken::Failure(why) = self.heard(heard, None) {
            self.end(&why).await;
        }
    }

    /// Makes sense of what was heard while `open` waits for its answer.
    fn heard(&mut self, heard: Heard, open: Option<&Request>) -> Taken {
        let line = match heard {
            Heard::Closed => return Taken::Failure("ended".to_owned()),
            Heard::TooLong => return Taken::Failure("printed a line of more than 64 KiB".to_owned()),
            Heard::Line(line) => line,
        };
        self.lines += 1;
        if self.lines > FLOOD {
            return Taken::Failure(format!("floods: more than {FLOOD} lines since the last request"));
        }
        match Message::parse(&line) {
            Err(NotAMessage::Noise) => self.noise(&line).map_or_else(Taken::Failure, |()| Taken::Nothing),
            Err(NotAMessage::Malformed(why)) => {
                self.tell(Gravity::Breach, &format!("said what cannot be read: {why}: {}", cut(&line)));
                Taken::Nothing
            }
            Ok(Message::Hello(_)) => {
                self.tell(Gravity::Noise, "introduced itself twice");
                Taken::Nothing
            }
            Ok(Message::Lost(loss)) => {
                self.lost(&loss.lost, loss.error.as_deref());
                Taken::Nothing
            }
            Ok(Message::Answer(answer)) => match open {
                Some(request) if request.id == answer.id => self.answer(request, answer),
                _ if answer.id > self.last_id || answer.id == 0 => {
                    self.tell(Gravity::Breach, &format!("answered request {}, which was not made", answer.id));
                    Taken::Nothing
                }
                _ => {
                    self.tell(Gravity::Breach, "answered a request twice");
                    Taken::Nothing
                }
            },
        }
    }

    fn answer(&mut self, request: &Request, mut answer: Answer) -> Taken {
        let (verb, result) = (request.op, answer.result);
        if !verb.results().contains(&result) {
            let known: Vec<&str> = verb.results().iter().map(|result| result.name()).collect();
            let (verb, result) = (verb.name(), result.name());
            self.tell(Gravity::Breach, &format!("answered {verb} with {result}; it is one of {}", known.join(", ")));
            return Taken::Failure(format!("gave no proper answer to {verb}"));
        }
        let fields = [
            (answer.token.is_some(), Capability::Token, "token"),
            (answer.valid_for_ms.is_some(), Capability::ValidFor, "valid_for_ms"),
        ];
        for (present, capability, field) in fields {
            let is_offered = self.offers(capability);
            if present && !is_offered {
                let name = capability.name();
                self.tell(Gravity::Noise, &format!("sent {field} without the capability {name}: it is passed over"));
                match capability {
                    Capability::Token => answer.token = None,
                    _ => answer.valid_for_ms = None,
                }
            } else if !present && is_offered && (verb, result) == (Verb::Acquire, Outcome::Ok) {
                let name = capability.name();
                self.tell(Gravity::Breach, &format!("granted without {field}, though it has the capability {name}"));
            }
        }
        Taken::Answer(answer)
    }

    /// Until when an answer makes the hold valid.
    fn until(&mut self, answer: &Answer, asked: Nanos, received: Nanos) -> Nanos {
        let valid_for = match answer.valid_for() {
            Ok(Some(valid_for)) => valid_for,
            Ok(None) => return UNSTATED,
            Err(why) => {
                self.tell(Gravity::Breach, &format!("gave no time: {why}"));
                return UNSTATED;
            }
        };
        let Some(now) = answer.now_ns else { return received + valid_for };
        // Both clocks run alike; what lies between them is the time that the machine was suspended.
        let then = Nanos(now) + (BootClock.now() - Nanos(monotonic()));
        let slack = Duration::from_millis(10);
        if then + slack < asked || then > received + slack {
            let text = "gave a now_ns that is no reading of CLOCK_MONOTONIC between request and answer";
            self.tell(Gravity::Breach, text);
            return received + valid_for;
        }
        then + valid_for
    }

    fn lost(&mut self, lock: &str, why: Option<&str>) {
        if !self.offers(Capability::Lost) {
            self.tell(Gravity::Noise, "told of a loss without the capability lost: it is passed over");
            return;
        }
        // One that was given back meanwhile is not held any more, and its loss is no news.
        if let Some(place) = self.held.iter().position(|(held, _)| held == lock) {
            let (_, hold) = &self.held[place];
            hold.lose(LostReason::Revoked(why.unwrap_or("the program was told so").to_owned()));
        }
    }

    fn noise(&mut self, line: &str) -> Result<(), String> {
        let text = format!(
            "printed to its standard output, which is for messages alone: {} (print to standard error)",
            cut(line)
        );
        // Once: whoever prints one line prints many.
        if self.told.insert("noise".to_owned()) {
            self.witness.misdeed(Misdeed { gravity: Gravity::Noise, text: format!("`{}` {text}", self.spec.shown()) });
        }
        if self.lines > FLOOD { Err(format!("floods: more than {FLOOD} lines since the last request")) } else { Ok(()) }
    }

    /// Tells of a misdeed, once.
    fn tell(&mut self, gravity: Gravity, what: &str) {
        if self.told.insert(what.to_owned()) {
            self.witness.misdeed(Misdeed { gravity, text: format!("`{}` {what}", self.spec.shown()) });
        }
    }

    /// The program failed in mid-request: what it was asked is in doubt.
    async fn lose(&mut self, what: &str, verb: Verb) -> String {
        self.end(&format!(
            "{what} while it was asked to {}",
            verb.name().replace("is_valid", "say whether the hold is valid")
        ))
        .await
    }

    /// Ends a program that failed, and with it all that it held.
    async fn end(&mut self, what: &str) -> String {
        let words = match self.program.take() {
            Some(program) => program.kill().await,
            None => String::new(),
        };
        let why = format!("{what}{words}");
        for (_, hold) in self.held.drain(..) {
            hold.lose(LostReason::Revoked(format!("the program {what}")));
        }
        self.failed(why.clone());
        format!("the program {why}")
    }

    fn failed(&mut self, why: String) {
        self.failures += 1;
        let gave_up = self.failures >= FAILURES;
        let gravity = if gave_up { Gravity::GaveUp } else { Gravity::Failure };
        let again = if gave_up { format!("; that is {FAILURES} times in a row") } else { String::new() };
        // Each failure counts, so each is told.
        self.witness.misdeed(Misdeed { gravity, text: format!("`{}` {why}{again}", self.spec.shown()) });
    }
}

/// The reading of `CLOCK_MONOTONIC`, in nanoseconds.
pub(super) fn monotonic() -> u64 {
    let now = clock_gettime(ClockId::Monotonic);
    // Time since boot is never negative.
    now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64
}

/// What came of something heard.
enum Taken {
    Nothing,
    Answer(Answer),
    Failure(String),
}

fn steps(limit: Duration) -> u128 {
    limit.as_millis() / STEP.as_millis()
}

/// A line as it fits into a sentence.
fn cut(line: &str) -> String {
    const MOST: usize = 80;
    let shown: String = line.chars().take(MOST).collect();
    let more = if line.chars().count() > MOST { "…" } else { "" };
    format!("`{shown}{more}`")
}
