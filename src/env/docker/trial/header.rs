//! What a trial's history says of itself before its first op, beside what it says in every world.

use super::Trial;
use crate::adapter::protocol::Capability;
use crate::env::docker::backends;
use crate::history::{Api, EnvironmentName, Header};
use crate::scenario::LockConfig;
use crate::trial::{Case, header};

impl Trial<'_> {
    pub(super) fn header(&self) -> Header {
        let Case { scenario, lock, config, seed } = self.case;
        let mut header = header(scenario, lock, seed, EnvironmentName::Docker);
        let versions = &self.cluster.versions;
        let backend = config.backend();
        let named =
            [(backend.name(), versions.of(backend)), ("docker", &versions.docker), ("kernel", &versions.kernel)];
        header.versions.extend(named.map(|(name, version)| (name.to_owned(), version.to_owned())));
        header.versions.extend(self.packages());
        // All containers read the same clock of the same kernel; a microsecond allows for the reading itself.
        Header { api: self.api(), clock_error: 1_000, ..header }
    }

    /// What a stranger's lock offers, as far as a check has to know.
    fn api(&self) -> Option<Api> {
        let LockConfig::Adapter(config) = self.case.config else { return None };
        let settings = &config.settings;
        // A validity is a word on the loss too: it is over when it says so.
        let tells_loss = settings.offers(Capability::Lost) || settings.offers(Capability::ValidFor);
        let runs_out = !settings.renew && backends::of(self.case.config.backend()).leases_run_out();
        let lease = config.lease.filter(|_| runs_out);
        Some(Api { tells_loss, lease: lease.and_then(|lease| u64::try_from(lease.as_nanos()).ok()) })
    }

    /// The packages that a stranger's lock is made of, with their versions.
    fn packages(&self) -> Vec<(String, String)> {
        let LockConfig::Adapter(config) = self.case.config else { return Vec::new() };
        let pinned = config.settings.pip.iter().filter_map(|package| package.split_once("=="));
        pinned.map(|(name, version)| (name.to_owned(), version.to_owned())).collect()
    }
}
