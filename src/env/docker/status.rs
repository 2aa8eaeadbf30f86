//! How the cluster is, without changing anything: `fencepost cluster status`.

use std::fmt;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use futures_util::future::join_all;

use super::backends;
use super::cluster::{self, ClusterError};
use super::container::Role;
use super::engine::Engine;
use super::settings::{Settings, Wanted};

/// A server that answers, answers within this.
const QUESTION_LIMIT: Duration = Duration::from_secs(1);

/// One container, or one server that should have one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// Its name.
    pub name: String,
    /// What it is for.
    pub role: Role,
    /// What its container is doing: `running`, `paused`, `stopped`, `in between`, `absent`.
    pub state: String,
    /// Its address in the cluster's network.
    pub address: Option<Ipv4Addr>,
    /// Where it answers on this machine.
    pub published: Option<SocketAddr>,
    /// What a server answered: its mode (`master`, `leader`, `follower`) or what went wrong. `None` if it was not
    /// asked.
    pub answer: Option<Result<String, String>>,
}

/// The state of the whole cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// Servers by role and number, then whatever else carries the project's label.
    pub members: Vec<Member>,
}

impl Status {
    /// Whether every server answers, and where one leads, exactly one does.
    pub fn is_ready(&self) -> bool {
        let servers = || self.members.iter().filter(|member| member.role.is_server());
        let has_one_leader = |role| self.leaders(role).count() == 1;
        let is_led = |one: &dyn backends::ContainerBackend| {
            let role = Role::Server(one.backend());
            let is_absent = one.containers().on_demand && servers().all(|server| server.role != role);
            !one.has_leader() || is_absent || has_one_leader(role)
        };
        servers().all(|server| matches!(server.answer, Some(Ok(_)))) && backends::all().all(is_led)
    }

    /// The servers of a kind that lead: one, unless something is wrong.
    pub fn leaders(&self, role: Role) -> impl Iterator<Item = &Member> {
        let leads = |member: &Member| matches!(&member.answer, Some(Ok(mode)) if mode == "leader");
        self.members.iter().filter(move |member| member.role == role && leads(member))
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const HEADING: [&str; 5] = ["NAME", "STATE", "ADDRESS", "PUBLISHED", "ANSWERS"];
        let or_none = |text: Option<String>| text.unwrap_or_else(|| "-".to_owned());
        let rows = self.members.iter().map(|member| {
            let answer = member.answer.as_ref().map(|answer| answer.clone().unwrap_or_else(|error| error));
            [
                member.name.clone(),
                member.state.clone(),
                or_none(member.address.map(|address| address.to_string())),
                or_none(member.published.map(|socket| socket.to_string())),
                or_none(answer),
            ]
        });
        let rows: Vec<[String; 5]> = std::iter::once(HEADING.map(str::to_owned)).chain(rows).collect();
        // As wide as what is in them: a trial's containers have long names.
        let widths: [usize; 5] =
            std::array::from_fn(|column| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or_default());
        for row in &rows {
            let cells: Vec<String> = row.iter().zip(widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
            writeln!(f, "{}", cells.join("  ").trim_end())?;
        }
        Ok(())
    }
}

/// Looks at every container of the project and asks every server.
pub async fn status() -> Result<Status, ClusterError> {
    let engine = Engine::connect().await?;
    let containers = engine.containers().await?;
    let settings = Settings::from_env()?.with(cluster::started_on_demand(&containers));
    let is = |wanted: &Wanted, name: &str| wanted.name == name;
    let servers = settings.servers().map(|wanted| {
        let container = containers.iter().find(|container| is(wanted, &container.name));
        async move {
            let published = container.and_then(|own| own.published).map(|port| (Ipv4Addr::LOCALHOST, port).into());
            let answer = match published {
                None => None,
                Some(socket) => Some(backends::of(wanted.backend).ask(socket, QUESTION_LIMIT).await),
            };
            Member {
                name: wanted.name.clone(),
                role: wanted.role(),
                state: container.map_or_else(|| "absent".to_owned(), |own| own.state.to_string()),
                address: container.and_then(|own| own.address),
                published,
                answer: answer.map(|said| said.map(|said| said.mode).map_err(|error| error.to_string())),
            }
        }
    });
    let mut members = join_all(servers).await;
    let others = containers.iter().filter(|own| !settings.servers().any(|wanted| is(wanted, &own.name)));
    members.extend(others.map(|own| Member {
        name: own.name.clone(),
        role: own.role,
        state: own.state.to_string(),
        address: own.address,
        published: own.published.map(|port| (Ipv4Addr::LOCALHOST, port).into()),
        answer: None,
    }));
    Ok(Status { members })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::Backend;

    fn zookeeper(number: u8, answer: Option<Result<&str, &str>>) -> Member {
        Member {
            name: format!("fencepost-zookeeper-{number}"),
            role: Role::Server(Backend::Zookeeper),
            state: "running".into(),
            address: Some([172, 30, 57, 20 + number].into()),
            published: Some(([127, 0, 0, 1], 17010 + u16::from(number)).into()),
            answer: answer.map(|said| said.map(str::to_owned).map_err(str::to_owned)),
        }
    }

    #[test]
    fn ready_means_all_answer_and_one_leads() {
        let status = |second| Status { members: vec![zookeeper(1, Some(Ok("leader"))), zookeeper(2, second)] };
        assert!(status(Some(Ok("follower"))).is_ready());
        for wrong in [Some(Ok("leader")), Some(Err("no answer")), None] {
            assert!(!status(wrong).is_ready(), "{wrong:?}");
        }
    }

    #[test]
    fn etcd_is_looked_at_where_it_was_started() {
        let etcd = |answer| Member { role: Role::Server(Backend::Etcd), ..zookeeper(2, answer) };
        let status = |answer| Status { members: vec![zookeeper(1, Some(Ok("leader"))), etcd(answer)] };
        assert!(status(Some(Ok("leader"))).is_ready());
        for wrong in [Some(Ok("follower")), Some(Err("no answer")), None] {
            assert!(!status(wrong).is_ready(), "{wrong:?}");
        }
    }

    #[test]
    fn status_prints_one_line_a_member() {
        let long = Member {
            name: "fencepost-0a1b2c-redlock-delete-without-owner-check-c12".to_owned(),
            role: Role::Client,
            ..zookeeper(3, None)
        };
        let text = Status { members: vec![zookeeper(2, Some(Ok("follower"))), long] }.to_string();
        let column = |line: &str| line.find(" running").or(line.find(" STATE"));
        let columns: Vec<_> = text.lines().map(column).collect();
        assert!(columns[0].is_some() && columns.iter().all(|column| *column == columns[0]), "{text}");
        assert!(text.contains("running  172.30.57.22  127.0.0.1:17012  follower\n"), "{text}");
    }
}
