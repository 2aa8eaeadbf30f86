//! Starting a container of a run: the fencepost binary itself, bind-mounted into the tools image.

use std::collections::HashMap;
use std::net::Ipv4Addr;
use std::path::PathBuf;

use bollard::models::{
    ContainerCreateBody, EndpointIpamConfig, EndpointSettings, HostConfig, NetworkingConfig, RestartPolicy,
    RestartPolicyNameEnum,
};
use bollard::query_parameters::CreateContainerOptionsBuilder;

use super::clock_page;
use super::cluster_name::cluster;
use super::container::{Container, Role, labels};
use super::engine::{Engine, EngineError, api};
use crate::ids::NodeId;

/// Where the binary is inside a container.
pub(super) const PROGRAM: &str = "/usr/local/bin/fencepost";

/// Where a stranger's program is inside a client's container.
pub(super) const FOLDER: &str = "/adapter";

/// `nobody`: what runs in a trial needs no rights.
const USER: &str = "65534:65534";

/// A container to be started.
pub struct NewContainer {
    /// Its name.
    pub name: String,
    /// Its image.
    pub image: String,
    /// The folder on this machine with a stranger's program, if it runs one; mounted where [`FOLDER`] says.
    pub folder: Option<PathBuf>,
    /// What it is for.
    pub role: Role,
    /// Its number, if it has one.
    pub node: Option<NodeId>,
    /// Which trial it belongs to: `RUN/LOCK`.
    pub trial: String,
    /// Its address in the cluster's network.
    pub address: Ipv4Addr,
    /// The fencepost binary on this machine.
    pub program: PathBuf,
    /// The binary's arguments.
    pub command: Vec<String>,
    /// The folder on this machine that holds the control socket; mounted at `/run/fencepost`.
    pub sockets: PathBuf,
    /// The folder on this machine with its clock's page, if its clock can be moved.
    pub clock: Option<PathBuf>,
    /// What else its environment says, `NAME=value`.
    pub environment: Vec<String>,
}

/// Creates and starts a container.
///
/// # Errors
/// The daemon could not do it.
pub async fn launch(engine: &Engine, wanted: NewContainer) -> Result<Container, EngineError> {
    let NewContainer { name, image, folder, role, node, trial, address, program, command, sockets, clock, .. } = wanted;
    let mut environment = wanted.environment;
    environment.extend(clock.as_ref().map(|_| format!("LD_PRELOAD={}", clock_page::SHIM)));
    let mut binds =
        vec![format!("{}:{PROGRAM}:ro", program.display()), format!("{}:/run/fencepost", sockets.display())];
    binds.extend(folder.as_ref().map(|folder| format!("{}:{FOLDER}:ro", folder.display())));
    binds.extend(clock.as_ref().map(|clock| format!("{}:{}:ro", clock.display(), clock_page::FOLDER)));
    let endpoint = EndpointSettings {
        ipam_config: Some(EndpointIpamConfig { ipv4_address: Some(address.to_string()), ..Default::default() }),
        ..Default::default()
    };
    let body = ContainerCreateBody {
        image: Some(image),
        entrypoint: Some(vec![PROGRAM.to_owned()]),
        cmd: Some(command),
        user: Some(USER.to_owned()),
        env: Some(environment),
        labels: Some(labels(role, node, Some(&trial))),
        host_config: Some(HostConfig {
            binds: Some(binds),
            network_mode: Some(cluster().to_owned()),
            restart_policy: Some(RestartPolicy { name: Some(RestartPolicyNameEnum::NO), ..Default::default() }),
            cap_drop: Some(vec!["ALL".to_owned()]),
            ..Default::default()
        }),
        networking_config: Some(NetworkingConfig {
            endpoints_config: Some(HashMap::from([(cluster().to_owned(), endpoint)])),
        }),
        ..Default::default()
    };
    let options = CreateContainerOptionsBuilder::new().name(&name).build();
    let docker = engine.docker();
    docker.create_container(Some(options), body).await.map_err(api(format!("create {name}")))?;
    docker.start_container(&name, None).await.map_err(api(format!("start {name}")))?;
    engine.labelled(&name).await
}
