//! What a trial's history says of itself before its first op.

use super::Trial;
use crate::adapter::protocol::Capability;
use crate::env::docker::backends;
use crate::history::{Api, EnvironmentName, FORMAT, Header};
use crate::scenario::LockConfig;

impl Trial<'_> {
    pub(super) fn header(&self) -> Header {
        let versions = &self.cluster.versions;
        let backend = self.config.backend();
        let server = (backend.name(), versions.of(backend));
        let fencepost = env!("CARGO_PKG_VERSION");
        let plan = self.scenario.plan_for(self.lock);
        let named = [("fencepost", fencepost), server, ("docker", &*versions.docker), ("kernel", &*versions.kernel)];
        Header {
            fencepost: FORMAT,
            scenario: self.scenario.name.clone(),
            lock: self.lock.to_owned(),
            algorithm: self.config.algorithm().to_owned(),
            kind: self.config.kind(),
            environment: EnvironmentName::Docker.into(),
            seed: self.seed,
            clients: self.scenario.workload.clients,
            nodes: self.config.nodes(),
            fencing: self.scenario.resource.fencing.into(),
            content: self.scenario.workload.kind.content(),
            planned_faults: plan.len() as u32,
            plan,
            grant_within: self.scenario.grant_within(self.lock),
            leaves_within: Some(self.config.leaves_within()),
            api: self.api(),
            // All containers read the same clock of the same kernel; a microsecond allows for the reading itself.
            clock_error: 1_000,
            versions: named
                .into_iter()
                .map(|(name, version)| (name.to_owned(), version.to_owned()))
                .chain(self.packages())
                .collect(),
        }
    }

    /// What a stranger's lock offers, as far as a check has to know.
    fn api(&self) -> Option<Api> {
        let LockConfig::Adapter(config) = self.config else { return None };
        let settings = &config.settings;
        // A validity is a word on the loss too: it is over when it says so.
        let tells_loss = settings.offers(Capability::Lost) || settings.offers(Capability::ValidFor);
        let runs_out = !settings.renew && backends::of(self.config.backend()).leases_run_out();
        let lease = config.lease.filter(|_| runs_out);
        Some(Api { tells_loss, lease: lease.and_then(|lease| u64::try_from(lease.as_nanos()).ok()) })
    }

    /// The packages that a stranger's lock is made of, with their versions.
    fn packages(&self) -> Vec<(String, String)> {
        let LockConfig::Adapter(config) = self.config else { return Vec::new() };
        let pinned = config.settings.pip.iter().filter_map(|package| package.split_once("=="));
        pinned.map(|(name, version)| (name.to_owned(), version.to_owned())).collect()
    }
}
