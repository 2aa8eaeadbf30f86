//! A program as a [`DistributedLock`]: what the client loop of a trial uses, as it uses any lock.
//!
//! Deliberately absent: phases inside of an acquire. In a trial they are seen on the way of the program's requests
//! (`env/docker/proxy.rs`).

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::{BoxFuture, FutureExt};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

use super::driver::{Ask, Driver, Limits, Reply};
use super::misdeed::Witness;
use super::program::Spec;
use super::protocol::{Answer, Capability, Hello, Outcome, Verb};
use crate::ids::{FencingToken, LockName};
use crate::lock::runtime::SharedRuntime;
use crate::lock::{
    AcquireError, AcquireOptions, AttemptError, DistributedLock, Guard, Hold, LostReason, ReleaseOutcome, UNSTATED,
};
use crate::time::Nanos;

/// A lock behind the adapter protocol.
pub struct AdapterLock {
    asks: Asks,
    hello: Hello,
    runtime: SharedRuntime,
    prefix: String,
    renew: Option<Duration>,
    driver: JoinHandle<()>,
}

impl AdapterLock {
    /// Starts the program that `spec` names and hears who it is. Lock names get `prefix` put before them; `renew` is
    /// how often a hold is renewed, if it is and the lock can. `witness` is told of everything that the program may not
    /// do.
    ///
    /// # Errors
    /// It cannot be started, or did not introduce itself.
    pub async fn open(
        spec: Spec,
        prefix: String,
        renew: Option<Duration>,
        runtime: SharedRuntime,
        witness: Arc<dyn Witness>,
    ) -> Result<Self, String> {
        Self::open_within(Limits::default(), spec, prefix, renew, runtime, witness).await
    }

    pub(super) async fn open_within(
        limits: Limits,
        spec: Spec,
        prefix: String,
        renew: Option<Duration>,
        runtime: SharedRuntime,
        witness: Arc<dyn Witness>,
    ) -> Result<Self, String> {
        let (sender, asks) = mpsc::unbounded_channel();
        let shown = spec.shown();
        let mut driver = Driver::new(spec, limits, asks, witness);
        let hello = driver.open().await.map_err(|why| match why.strip_prefix("cannot") {
            Some(_) => why,
            None => format!("`{shown}` {why}"),
        })?;
        let driver = tokio::spawn(driver.run());
        Ok(Self { asks: Asks(sender), hello, runtime, prefix, renew, driver })
    }

    /// Who the program says that it is.
    pub fn hello(&self) -> &Hello {
        &self.hello
    }

    /// Whether the lock offers something.
    pub fn offers(&self, capability: Capability) -> bool {
        self.hello.capabilities.contains(&capability)
    }

    /// Asks for a renewal of a hold.
    ///
    /// # Errors
    /// The hold is not of this lock, or was not renewed.
    pub async fn extend(&self, guard: &Guard) -> Result<(), String> {
        let about = About {
            asks: self.asks.clone(),
            lock: format!("{}{}", self.prefix, guard.name()),
            hold: Arc::clone(guard.hold()),
        };
        match about.ask(Verb::Extend).await {
            Reply::Answered { answer: Answer { result: Outcome::Ok, .. }, until, .. } => {
                about.promise(until);
                Ok(())
            }
            Reply::Answered { answer, .. } => Err(answer.error.unwrap_or_else(|| answer.result.name().to_owned())),
            Reply::InDoubt(why) | Reply::NotSent(why) => Err(why),
        }
    }

    /// Lets the program go, and sees that it goes.
    pub async fn close(self) {
        let Self { asks, driver, .. } = self;
        drop(asks);
        // Guards that are still held keep it; they end with the process.
        let _ = driver.await;
    }

    /// Kills the program, with whatever it holds.
    pub async fn kill(self) {
        self.driver.abort();
        let _ = self.driver.await;
    }

    fn guard(&self, name: &LockName, lock: String, answer: &Answer, hold: Arc<Hold>) -> Guard {
        let about = About { asks: self.asks.clone(), lock, hold: Arc::clone(&hold) };
        if let Some(every) = self.renew.filter(|_| self.offers(Capability::Extend)) {
            self.runtime.spawn(about.clone().renew(Arc::clone(&self.runtime), every).boxed());
        }
        let question: Option<Box<dyn Fn() -> BoxFuture<'static, ()> + Send + Sync>> =
            self.offers(Capability::IsValid).then(|| {
                let about = about.clone();
                Box::new(move || about.clone().look().boxed()) as _
            });
        let token = answer.token.map(FencingToken);
        let guard =
            Guard::new(name.clone(), token, hold, Arc::clone(&self.runtime), Box::new(move || about.release().boxed()));
        match question {
            Some(question) => guard.asking(question),
            None => guard,
        }
    }
}

impl DistributedLock for AdapterLock {
    fn acquire<'a>(
        &'a self,
        name: &'a LockName,
        options: &'a AcquireOptions,
    ) -> BoxFuture<'a, Result<Guard, AcquireError>> {
        async move {
            options.check(false)?;
            let lock = format!("{}{name}", self.prefix);
            let begun = self.runtime.now();
            match self.asks.ask(Verb::Acquire, &lock, options.wait, None).await {
                Reply::Answered { answer, hold: Some(hold), .. } => Ok(self.guard(name, lock, &answer, hold)),
                Reply::Answered { answer: Answer { result: Outcome::Fail, error, .. }, .. } => {
                    let why = error.unwrap_or_else(|| "the program says so".to_owned());
                    let last = AttemptError::NotGranted(why);
                    Err(AcquireError::DeadlineExceeded { waited: self.runtime.now() - begun, last })
                }
                Reply::Answered { answer, .. } => {
                    Err(AcquireError::InDoubt(answer.error.unwrap_or_else(|| "the program cannot say".to_owned())))
                }
                Reply::InDoubt(why) => Err(AcquireError::InDoubt(why)),
                Reply::NotSent(why) => Err(AcquireError::Refused(why)),
            }
        }
        .boxed()
    }
}

/// Where requests go.
#[derive(Clone)]
struct Asks(mpsc::UnboundedSender<Ask>);

impl Asks {
    async fn ask(&self, verb: Verb, lock: &str, wait: Duration, hold: Option<Arc<Hold>>) -> Reply {
        let (reply, answered) = oneshot::channel();
        if self.0.send(Ask { verb, lock: lock.to_owned(), wait, hold, reply }).is_err() {
            return Reply::NotSent("the program has been let go".to_owned());
        }
        answered.await.unwrap_or_else(|_| Reply::InDoubt("the program has been let go".to_owned()))
    }
}

/// What requests about one hold need.
#[derive(Clone)]
struct About {
    asks: Asks,
    lock: String,
    hold: Arc<Hold>,
}

impl About {
    async fn ask(&self, verb: Verb) -> Reply {
        self.asks.ask(verb, &self.lock, Duration::ZERO, Some(Arc::clone(&self.hold))).await
    }

    async fn release(self) -> ReleaseOutcome {
        match self.ask(Verb::Release).await {
            Reply::Answered { answer, .. } => match answer.result {
                Outcome::Released => ReleaseOutcome::Released,
                Outcome::Expired => ReleaseOutcome::AlreadyExpired,
                _ => ReleaseOutcome::Unknown(answer.error.unwrap_or_else(|| "the program cannot say".to_owned())),
            },
            Reply::InDoubt(why) | Reply::NotSent(why) => ReleaseOutcome::Unknown(why),
        }
    }

    /// Asks the lock whether the hold is valid. One that cannot say has said nothing.
    async fn look(self) {
        if let Reply::Answered { answer, until, .. } = self.ask(Verb::IsValid).await {
            match answer.result {
                Outcome::Expired => self.lose(answer.error, "the lock says that it is no longer valid"),
                Outcome::Ok => self.promise(until),
                _ => {}
            }
        }
    }

    /// Renews the hold until it is over.
    async fn renew(self, runtime: SharedRuntime, every: Duration) {
        loop {
            tokio::select! {
                biased;
                () = self.hold.over() => return,
                () = runtime.sleep_until(runtime.now() + every) => {}
            }
            if let Reply::Answered { answer, until, .. } = self.ask(Verb::Extend).await {
                match answer.result {
                    Outcome::Fail => self.lose(answer.error, "the lock could not be renewed"),
                    Outcome::Ok => self.promise(until),
                    _ => {}
                }
            }
        }
    }

    fn promise(&self, until: Nanos) {
        if until != UNSTATED {
            self.hold.update(|validity| validity.until = until);
        }
    }

    fn lose(&self, why: Option<String>, otherwise: &str) {
        self.hold.lose(LostReason::Revoked(why.unwrap_or_else(|| otherwise.to_owned())));
    }
}
