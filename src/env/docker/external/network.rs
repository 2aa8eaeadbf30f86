//! The trial's network where no cluster has brought it: made for a run, removed after it.

use bollard::errors::Error as ApiError;
use bollard::models::{Ipam, IpamConfig, NetworkCreateRequest};

use crate::env::docker::cluster::{self, ClusterError};
use crate::env::docker::cluster_name::cluster;
use crate::env::docker::compose::ComposeError;
use crate::env::docker::container::LABEL_CLUSTER;
use crate::env::docker::engine::{Engine, api};
use crate::env::docker::settings::Settings;

/// Sees to it that the network is there; whether it was made for that.
///
/// # Errors
/// Its name or its addresses are somebody else's.
pub async fn ensure(engine: &Engine, settings: &Settings) -> Result<bool, ClusterError> {
    if cluster::own_network(engine, settings).await? {
        return Ok(false);
    }
    // As Compose labels it, so that a later start of the cluster takes it for its own should it be left behind.
    let labels = [
        (LABEL_CLUSTER, cluster()),
        ("com.docker.compose.network", "fencepost"),
        ("com.docker.compose.project", cluster()),
    ];
    let subnet = IpamConfig { subnet: Some(settings.subnet()), ..IpamConfig::default() };
    let request = NetworkCreateRequest {
        name: cluster().to_owned(),
        driver: Some("bridge".to_owned()),
        ipam: Some(Ipam { config: Some(vec![subnet]), ..Ipam::default() }),
        labels: Some(labels.map(|(name, value)| (name.to_owned(), value.to_owned())).into()),
        ..NetworkCreateRequest::default()
    };
    match engine.docker().create_network(request).await {
        Ok(_) => Ok(true),
        Err(ApiError::DockerResponseServerError { message, .. }) if message.contains("Pool overlaps") => {
            Err(ComposeError::SubnetTaken { subnet: settings.subnet() }.into())
        }
        Err(error) => Err(api("make the network")(error).into()),
    }
}

/// Removes the network. Best effort: the next run uses it, and `fencepost cluster down` removes it too.
pub async fn remove(engine: &Engine) {
    let _ = engine.docker().remove_network(cluster()).await;
}
