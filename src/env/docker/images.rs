//! The images of the cluster, as far as they are needed: made when they are missing, made anew when their files have
//! changed.
//!
//! Each carries a digest of the files it was built from as a label, so a newer `fencepost` never runs on the servers of
//! an older one. Deliberately absent: pulling ready-made images, which nobody publishes.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use bollard::errors::Error as ApiError;
use futures_util::future::try_join_all;
use tokio::process::Command;

use super::backends;
use super::command::{CommandError, run};
use super::container::Role;
use super::engine::{Engine, EngineError, LABEL_DIGEST, api};
use super::files::{self, FilesError};
use crate::adapter::Settings;
use crate::scenario::Backend;
use crate::seed::fnv1a;

/// The image of clients, the resource and network helpers.
pub const TOOLS: &str = "fencepost-tools";
/// What all are built on.
const BASE: &str = "debian:trixie-slim";

/// What the image of a stranger's lock is made by.
const ADAPTER: &str = "docker/adapter.Dockerfile";
/// The certificates to reach a package registry with, where others than usual are needed.
const CERTIFICATES: &str = "pip-certificates.pem";

/// A download and an installation on a slow line.
const BUILD_LIMIT: Duration = Duration::from_secs(900);

/// What every image has in common.
const SHIMS: &[&str] = &["docker/sys.h", "docker/clockshim.c", "docker/syncshim.c"];

/// The file that the image of clients is built from beside the shims.
const TOOLS_FILES: &[&str] = &["docker/tools.Dockerfile"];

/// An image, and the files that it is built from beside the shims, its Dockerfile first.
type Recipe = (&'static str, Vec<&'static str>);

/// The recipes that are needed for the servers of these backends, and for clients.
fn recipes(backends: impl IntoIterator<Item = Backend>) -> Vec<Recipe> {
    let own = |backend| {
        let own = backends::of(backend).containers();
        (own.image, own.files.iter().map(|(file, _)| *file).collect())
    };
    let mut recipes: Vec<Recipe> = backends.into_iter().map(own).collect();
    recipes.insert(recipes.len().min(1), (TOOLS, TOOLS_FILES.to_vec()));
    recipes
}

/// Why an image could not be made.
#[derive(Debug, thiserror::Error)]
pub enum ImageError {
    /// The daemon did not answer as expected.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// The files could not be laid out.
    #[error(transparent)]
    Files(#[from] FilesError),
    /// There is no `docker` command.
    #[error("building images needs the docker command: install it (Debian: docker-cli or docker.io), or use --env sim")]
    NoClient,
    /// The base image could neither be pulled nor made.
    #[error("the base image {BASE} could not be had: {0}")]
    Base(CommandError),
    /// The build for a stranger's lock failed.
    #[error("the image of {name} could not be built: {source}; see the packages in its settings")]
    Adapter {
        /// The lock's name.
        name: String,
        /// What the builder said.
        source: CommandError,
    },
    /// A build failed.
    #[error("the image {image} could not be built: {source}")]
    Build {
        /// The image.
        image: &'static str,
        /// What the builder said.
        source: CommandError,
    },
}

/// The ids of the images, all present and up to date.
#[derive(Clone, Debug, Default)]
pub struct Images(BTreeMap<&'static str, String>);

impl Images {
    /// The id of the image that containers of this role are made from.
    pub fn of(&self, role: Role) -> Option<&str> {
        let name = match role {
            Role::Server(backend) => backends::of(backend).containers().image,
            Role::Ui => return None,
            Role::Client | Role::Resource | Role::Door | Role::Netns | Role::Helper => TOOLS,
        };
        self.0.get(name).map(String::as_str)
    }
}

/// Sees to it that the images of these backends and of clients are there and up to date. With nothing to do it takes
/// one look at each.
///
/// # Errors
/// One could not be made.
pub async fn ensure(
    engine: &Engine,
    backends: impl IntoIterator<Item = Backend>,
    progress: &(dyn Fn(&str) + Sync),
) -> Result<Images, ImageError> {
    let recipes = recipes(backends);
    let found = try_join_all(recipes.iter().map(|(name, _)| find(engine, name))).await?;
    let current = |index: usize| match &found[index] {
        Some((id, built_from)) if *built_from == digest(&recipes[index].1) => Some(id.clone()),
        _ => None,
    };
    let missing: Vec<_> = (0..recipes.len()).filter(|index| current(*index).is_none()).collect();
    if missing.is_empty() {
        return Ok(Images((0..recipes.len()).filter_map(|index| Some((recipes[index].0, current(index)?))).collect()));
    }
    let folder = files::lay_out()?;
    if find(engine, BASE).await?.is_none() {
        progress(&format!("getting {BASE} (made here if no registry gives it; once)"));
        base(engine, &folder).await?;
    }
    let names: Vec<_> = missing.iter().map(|index| recipes[*index].0).collect();
    progress(&format!("building {} (once)", names.join(", ")));
    // One alone first: the others take the stage that makes the shims from it.
    let (first, others) = missing.split_at(1);
    for round in [first, others] {
        try_join_all(round.iter().map(|index| build(engine, &folder, recipes[*index].0, &recipes[*index].1))).await?;
    }
    let found = try_join_all(recipes.iter().map(|(name, _)| find(engine, name))).await?;
    Ok(Images(recipes.iter().zip(found).filter_map(|((name, _), found)| Some((*name, found?.0))).collect()))
}

/// The image of a stranger's lock: the clients' image with the packages that its program needs. It is named after the
/// packages, so that two that need the same share it; the program itself is mounted, and changes nothing here.
///
/// # Errors
/// It could not be built.
pub async fn ensure_for(
    engine: &Engine,
    settings: &Settings,
    progress: &(dyn Fn(&str) + Sync),
) -> Result<String, ImageError> {
    let (mut pip, mut apt) = (settings.pip.clone(), settings.apt.clone());
    pip.sort();
    apt.sort();
    if pip.is_empty() && apt.is_empty() {
        return Ok(TOOLS.to_owned());
    }
    let built_on = digest(TOOLS_FILES);
    let recipe = [files::content(ADAPTER), &built_on, &pip.join(" "), &apt.join(" ")].join("\0");
    let recipe = format!("{:016x}", fnv1a(recipe.as_bytes()));
    let image = format!("fencepost-adapter:{recipe}");
    if find(engine, &image).await?.is_some() {
        return Ok(image);
    }
    progress(&format!("building the image of {} (under a minute, once)", settings.name));
    let folder = files::lay_out()?;
    // A registry behind a gateway of its own is reached with that gateway's certificates.
    let certificates = folder.join("docker").join(CERTIFICATES);
    let given = std::env::var_os("PIP_CERT").and_then(|path| std::fs::read(path).ok()).unwrap_or_default();
    std::fs::write(&certificates, given).map_err(|source| FilesError::Write { path: certificates, source })?;
    let mut command = Command::new("docker");
    command
        .args(["build", "--tag", &image, "--file", ADAPTER, "--label"])
        .arg(format!("{LABEL_DIGEST}={recipe}"))
        .arg("--build-arg")
        .arg(format!("PIP={}", pip.join(" ")))
        .arg("--build-arg")
        .arg(format!("APT={}", apt.join(" ")))
        .arg("--build-arg")
        .arg(format!("INDEX={}", std::env::var("PIP_INDEX_URL").unwrap_or_default()))
        .arg("docker")
        .current_dir(&folder)
        .env("DOCKER_HOST", engine.host());
    match run(&mut command, BUILD_LIMIT).await {
        Ok(_) => Ok(image),
        Err(CommandError::Missing { .. }) => Err(ImageError::NoClient),
        Err(source) => Err(ImageError::Adapter { name: settings.name.clone(), source }),
    }
}

/// The id of an image and the digest it was built from, if it exists.
async fn find(engine: &Engine, name: &str) -> Result<Option<(String, String)>, EngineError> {
    match engine.docker().inspect_image(name).await {
        Ok(image) => {
            let labels = image.config.and_then(|config| config.labels).unwrap_or_default();
            Ok(Some((image.id.unwrap_or_default(), labels.get(LABEL_DIGEST).cloned().unwrap_or_default())))
        }
        Err(ApiError::DockerResponseServerError { status_code: 404, .. }) => Ok(None),
        Err(error) => Err(api(format!("look at the image {name}"))(error)),
    }
}

/// A digest of the files' content, the same on every machine.
fn digest(files: &[&str]) -> String {
    let content: Vec<&str> = files.iter().chain(SHIMS).map(|file| files::content(file)).collect();
    format!("{:016x}", fnv1a(content.join("\0").as_bytes()))
}

async fn base(engine: &Engine, folder: &Path) -> Result<(), ImageError> {
    let mut command = Command::new("bash");
    command.arg(files::BASE).current_dir(folder).env("DOCKER_HOST", engine.host());
    run(&mut command, BUILD_LIMIT).await.map(drop).map_err(ImageError::Base)
}

async fn build(engine: &Engine, folder: &Path, image: &'static str, files: &[&str]) -> Result<(), ImageError> {
    let mut command = Command::new("docker");
    command
        .args(["build", "--tag", image, "--file", files[0], "--label"])
        .arg(format!("{LABEL_DIGEST}={}", digest(files)))
        .arg("docker")
        .current_dir(folder)
        .env("DOCKER_HOST", engine.host());
    match run(&mut command, BUILD_LIMIT).await {
        Ok(_) => Ok(()),
        Err(CommandError::Missing { .. }) => Err(ImageError::NoClient),
        Err(source) => Err(ImageError::Build { image, source }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_recipe_names_files_that_are_carried_along() {
        for (image, files) in recipes(Backend::ALL) {
            for file in files.iter().chain(SHIMS) {
                assert!(!files::content(file).is_empty(), "{image}: {file}");
            }
        }
    }

    #[test]
    fn another_content_has_another_digest() {
        let recipes = recipes(Backend::ALL);
        assert_ne!(digest(&recipes[0].1), digest(&recipes[1].1));
        assert_ne!(digest(&recipes[2].1[..1]), digest(&recipes[2].1));
    }
}
