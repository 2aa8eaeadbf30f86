//! A program that speaks the adapter protocol: what a scenario says of it, over whatever servers its folder names.
//!
//! Deliberately absent: the folder and the protocol ([`crate::adapter`]).

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::backend::{Backend, Persistence, TICK};
use super::draw::{Scale, ms};
use super::over_redis::kept;
use super::registry::{self, LockConfig};
use super::table::{AnyKey, Asked, Key, Line, quoted, time};
use super::{Assumed, Defendant, Promised};
use crate::adapter::settings::{self, Lease, Settings};
use crate::duration::text;
use crate::scenario::error::Problem;
use crate::scenario::problems::Problems;

/// `adapter`
pub const ADAPTER: Key<String> = Key::new(
    "adapter",
    "programs of others",
    "A defendant that is not of fencepost, by the name of its folder in `adapters`, or by a path; real servers only. \
     Its\nfolder says which servers it rests on; `ttl` or `session-timeout` is the lease that it is told to take.",
);

/// A defendant of its own folder. What the folder says holds; the scenario says the lease, and what its servers keep.
pub(super) fn read(asked: &Asked<'_>, problems: &mut Problems<'_>) -> Option<LockConfig> {
    let Asked { table, environment, path, .. } = asked;
    let field = table.get(&ADAPTER)?;
    if !environment.adapters {
        if !environment.strikes_servers {
            let title = format!("`{}` is a program of others: it is tried on servers of fencepost's own", field.value);
            let problem = Problem::at(&field.span, title, "not with --servers");
            return problems.refuse(problem.help("leave out --servers, or choose the other locks with --lock"));
        }
        let title = format!("`{}` is a program: it cannot be simulated", field.value);
        let problem = Problem::at(&field.span, title, "real servers only");
        return problems.refuse(problem.help("run it on real ones with `--env docker`"));
    }
    let Some(folder) = settings::find(&field, path) else {
        let title = format!("there is no adapter `{}`", field.value);
        let problem = Problem::at(&field.span, title, format!("no folder with a {}", settings::FILE));
        return problems.refuse(problem.help(format!("looked in {0}/ here and beside the scenario", settings::FOLDER)));
    };
    let found = match settings::load(&folder) {
        Ok(found) => found,
        Err(error) => {
            return problems.refuse(Problem::at(&field.span, error.to_string(), "its settings are wrong"));
        }
    };
    // The rules for the lease and for what is kept are those of fencepost's own lock over the same servers.
    let backend = found.servers.backend;
    let own = registry::own(backend);
    for key in registry::keys().iter().filter(|key| key.name() != ADAPTER.name) {
        let told_by = |backend: &Backend| has(registry::own(*backend).lease_keys(), *key);
        match Backend::ALL.into_iter().find(told_by) {
            _ if has(own.lease_keys(), *key) => {}
            Some(other) => table.refuse(*key, other.name(), &format!("over {}", backend.name()), problems),
            None => table.refuse(*key, "locks of fencepost", "an adapter", problems),
        }
    }
    let like = own.read(&Asked { table: &table.only(own.lease_keys()), ..*asked }, problems)?;
    let lease = found.lease(like.lease().unwrap_or_default());
    let persistence = like.persistence().unwrap_or_default();
    Some(LockConfig::Adapter(AdapterConfig { lease, persistence, settings: found }))
}

fn has(keys: &[&'static dyn AnyKey], key: &dyn AnyKey) -> bool {
    keys.iter().any(|own| own.name() == key.name())
}

/// A lock behind the adapter protocol.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AdapterConfig {
    /// What its folder says.
    pub settings: Settings,
    /// The lease or session timeout that it has here, if it has one.
    pub lease: Option<Duration>,
    /// What a Redis master still has after it was killed or lost power.
    pub persistence: Persistence,
}

impl Defendant for AdapterConfig {
    fn algorithm(&self) -> &'static str {
        ADAPTER.name
    }

    fn backend(&self) -> Backend {
        self.settings.servers.backend
    }

    fn nodes(&self) -> u32 {
        self.settings.servers.count
    }

    fn lease(&self) -> Option<Duration> {
        self.lease
    }

    fn renews(&self) -> bool {
        false
    }

    fn persistence(&self) -> Option<Persistence> {
        self.backend().has_persistence().then_some(self.persistence)
    }

    fn permanent(&self) -> Vec<String> {
        self.settings.permanent.clone()
    }

    /// Nothing is known of what a stranger's lock promises.
    fn promised(&self) -> Promised {
        Promised { tokens: false, line: false, takes_back: false }
    }

    /// Nothing is known of a stranger's tokens: what forgets is beyond them.
    fn assumes(&self) -> Option<Assumed> {
        let lease = self.lease.unwrap_or_default();
        Some(Assumed { lease, persistence: self.persistence, counts: true })
    }

    fn scale(&self) -> Scale {
        let lease = self.lease.unwrap_or(ms(1_000));
        Scale { lease, renewal: lease / 3, patience: TICK }
    }

    fn program(&self) -> Option<&AdapterConfig> {
        Some(self)
    }

    fn written(&self) -> Vec<Line> {
        // All named, so that nothing is left of a field that is added and not written.
        let Self { settings, lease, persistence } = self;
        let mut lines = vec![(ADAPTER.name, quoted(&settings.name))];
        let key = registry::own(self.backend()).lease_keys().first();
        if let (Some(lease), Lease::AsTold, Some(key)) = (lease, settings.lease, key) {
            lines.push((key.name(), time(*lease)));
        }
        lines.extend(kept(*persistence));
        lines
    }

    fn shown(&self) -> Vec<Line> {
        let settings = &self.settings;
        let offers: Vec<&str> = settings.capabilities.iter().map(|capability| capability.name()).collect();
        let renewal = if settings.renew { "every third of the lease" } else { "its own affair" };
        vec![
            ("program", settings.command.join(" ")),
            ("packages", settings.pip.iter().chain(&settings.apt).cloned().collect::<Vec<_>>().join(", ")),
            ("servers", settings.servers.to_string()),
            ("lease or session timeout", self.lease.map_or_else(|| "none".to_owned(), text)),
            ("renewal", renewal.to_owned()),
            ("its API offers", if offers.is_empty() { "acquire and release".to_owned() } else { offers.join(", ") }),
            ("persistence", self.persistence.about().to_owned()),
        ]
    }
}
