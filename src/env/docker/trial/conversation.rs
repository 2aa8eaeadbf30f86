//! What a trial and its containers say to each other: greetings, ops that are recorded and passed on, the last words.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::bail;
use tokio::sync::mpsc;

use super::Trial;
use crate::env::docker::control_server::ControlServer;
use crate::env::docker::lives::Lives;
use crate::env::docker::messages::{Order, Report, Speaker};
use crate::env::docker::outside;
use crate::history::recorder::Record;
use crate::history::{F, Recorder};
use crate::nemesis::Event;
use crate::time::{BootClock, Clock, Nanos};

/// How long containers may take to start and clients to open their sessions.
const READY_LIMIT: Duration = Duration::from_secs(30);

/// How long clients may take to bring their last turn to its end, beyond a hold and a fault that began before the end.
const FINISH_LIMIT: Duration = Duration::from_secs(20);

impl Trial<'_> {
    /// Greets every member, tells it its plan, and waits until all are ready.
    pub(super) async fn make_ready(&self, control: &mut ControlServer, lives: &Lives) -> anyhow::Result<()> {
        let mut missing: BTreeSet<Speaker> = self.members().collect();
        let limit = tokio::time::Instant::now() + READY_LIMIT;
        let mut stop = self.stop.clone();
        while !missing.is_empty() {
            let heard = tokio::select! {
                biased;
                _ = stop.wait_for(|stop| *stop) => bail!("called off before it began"),
                heard = tokio::time::timeout_at(limit, control.heard.recv()) => heard,
            };
            match heard {
                Ok(Some((speaker, Some(Report::Hello(_))))) => {
                    control.orders.send(speaker, self.plan_for(speaker, lives)?)
                }
                Ok(Some((speaker, Some(Report::Ready)))) => drop(missing.remove(&speaker)),
                Ok(Some((speaker, Some(Report::Failed(reason))))) => bail!("{}: {reason}", self.name(speaker)),
                Ok(Some((speaker, None))) => bail!("{} ended before the trial began", self.name(speaker)),
                Ok(Some(_)) => {}
                Ok(None) | Err(_) => {
                    let names: Vec<_> = missing.iter().map(|speaker| self.name(*speaker)).collect();
                    bail!("not ready within {READY_LIMIT:?}: {}; see `docker logs NAME`", names.join(", "));
                }
            }
        }
        Ok(())
    }

    /// Records and passes on what members say until all clients are done.
    pub(super) async fn listen(
        &self,
        control: &mut ControlServer,
        recorder: &Recorder,
        lives: &Lives,
        events: mpsc::UnboundedSender<Event>,
        end: Nanos,
    ) -> anyhow::Result<()> {
        // The nemesis has no ear for what happens after it has gone.
        let tell = |event| drop(events.send(event));
        let mut busy: BTreeSet<Speaker> = self.clients().map(Speaker::Client).collect();
        let longest_fault = self.scenario.faults.iter().map(|fault| fault.duration).max().unwrap_or_default();
        let allowance = self.scenario.workload.hold.max + longest_fault + FINISH_LIMIT;
        let limit = tokio::time::Instant::now() + (end - BootClock.now()) + allowance;
        let mut stop = self.stop.clone();
        let mut stopping = false;
        while !busy.is_empty() {
            let heard = tokio::select! {
                biased;
                _ = stop.wait_for(|stop| *stop), if !stopping => {
                    stopping = true;
                    control.orders.send_all_clients(&Order::Stop);
                    continue;
                }
                heard = tokio::time::timeout_at(limit, control.heard.recv()) => heard,
            };
            let Ok(Some((speaker, report))) = heard else {
                let names: Vec<_> = busy.iter().map(|speaker| self.name(*speaker)).collect();
                bail!("not done {allowance:?} after the end: {}", names.join(", "));
            };
            match (speaker, report) {
                (Speaker::Client(_), Some(Report::Done)) => drop(busy.remove(&speaker)),
                (_, Some(Report::Op(op))) => {
                    lives.hear(&op);
                    if op.f == F::Stall
                        && let Some((since, until)) = lives.stalled(&op)
                        && !self.freezes_all()
                    {
                        let seconds = (until - since).as_secs_f64();
                        outside::note(recorder, since, format!("all clients stood still for {seconds:.1} s at once"));
                    }
                    Event::of(&op).map(tell);
                    recorder.record(*op);
                    if let Some(failure) = recorder.failure() {
                        bail!("cannot write the history in {}: {failure}", self.folder.display());
                    }
                }
                (_, Some(Report::Servers(record))) => recorder.observe(*record),
                (Speaker::Client(client), Some(Report::Reached { number, phase })) => {
                    tell(Event::Reached { client, number, phase });
                }
                (_, Some(Report::Clock(clock))) => lives.answer(clock),
                (_, Some(Report::Requests(report))) => lives.ordered(report),
                // Started again after it was killed.
                (_, Some(Report::Hello(_))) => {
                    busy.insert(speaker);
                    control.orders.send(speaker, self.plan_for(speaker, lives)?);
                }
                (_, Some(Report::Ready)) => {
                    control.orders.send(speaker, Order::Begin { end });
                    if stopping {
                        control.orders.send(speaker, Order::Stop);
                    }
                }
                (_, Some(Report::Failed(reason))) => bail!("{}: {reason}", self.name(speaker)),
                (Speaker::Client(client), None) => match lives.ended(client) {
                    Some((crash, told)) => {
                        Event::of(&crash).map(tell);
                        recorder.record(crash);
                        // Whoever killed it waits for this, unless it has given up.
                        let _ = told.send(());
                    }
                    None if busy.contains(&speaker) => bail!("{} ended before the trial did", self.name(speaker)),
                    None => {}
                },
                (Speaker::Resource, None) => bail!("{} ended before the trial did", self.name(speaker)),
                _ => {}
            }
        }
        Ok(())
    }

    /// Lets everybody go, and the resource say its last words: its record may lag behind the clients'.
    pub(super) async fn dismiss(&self, control: &mut ControlServer, recorder: &Recorder) -> anyhow::Result<()> {
        control.orders.send_all(&Order::Leave);
        let limit = tokio::time::Instant::now() + Duration::from_secs(5);
        loop {
            match tokio::time::timeout_at(limit, control.heard.recv()).await {
                Ok(Some((_, Some(Report::Op(op))))) => recorder.record(*op),
                Ok(Some((_, Some(Report::Servers(record))))) => recorder.observe(*record),
                Ok(Some((Speaker::Resource, Some(Report::Done) | None))) => return Ok(()),
                Ok(Some(_)) => {}
                Ok(None) | Err(_) => bail!("{} did not finish", self.name(Speaker::Resource)),
            }
        }
    }
}
