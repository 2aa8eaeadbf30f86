//! What the seam's real client makes of the errors that a real ensemble can be brought to give, verb by verb.

use std::sync::Arc;

use fencepost::lock::backend::{ZkConnector, ZkSession};
use fencepost::lock::client::ZookeeperEnsemble;
use fencepost::lock::error::ZkError;
use futures_util::future::{BoxFuture, FutureExt};

use super::{TIMEOUT, servers};

type Verb = fn(&dyn ZkSession, String) -> BoxFuture<'static, Result<(), ZkError>>;

/// Every verb that goes to a path. A `sync` takes no rights.
const VERBS: [(&str, Verb); 6] = [
    ("create_parents", |session, path| session.create_parents(&format!("{path}/sub")).boxed()),
    ("create_contender", |session, path| {
        session.create_contender(&format!("{path}/c-")).map(|it| it.map(drop)).boxed()
    }),
    ("children", |session, path| session.children(&path).map(|it| it.map(drop)).boxed()),
    ("delete", |session, path| session.delete(&format!("{path}/child")).boxed()),
    ("stat", |session, path| session.stat(&path).map(|it| it.map(drop)).boxed()),
    ("watch", |session, path| session.watch(&path).map(|it| it.map(drop)).boxed()),
];

#[test]
fn what_an_ensemble_refuses_certainly_did_not_happen() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    runtime.block_on(async {
        let servers = match std::env::var("FENCEPOST_TEST_ZOOKEEPER") {
            Ok(servers) => servers,
            Err(_) => servers().await,
        };
        let connect = |ensemble: ZookeeperEnsemble| async move { ensemble.connect().await.unwrap() };
        let owner: Arc<dyn ZkSession> =
            connect(ZookeeperEnsemble::new(&*servers, TIMEOUT).with_digest("owner:secret")).await;
        let stranger = connect(ZookeeperEnsemble::new(&*servers, TIMEOUT)).await;
        let folder = format!("/refusals-{:08x}", rand::random::<u32>());
        owner.create_parents(&format!("{folder}/child")).await.unwrap();

        for (name, verb) in VERBS {
            let answer = verb(&*stranger, folder.clone()).await;
            assert!(matches!(&answer, Err(ZkError::Refused(_))), "{name}: {answer:?}");
            assert!(answer.unwrap_err().is_definite());
        }
        assert_eq!(stranger.sync(&folder).await, Ok(()));
        assert_eq!(owner.children(&folder).await, Ok(vec!["child".to_owned()]));

        // Not a matter of rights.
        let not_empty = owner.delete(&folder).await;
        assert!(matches!(not_empty, Err(ZkError::Refused(_))), "{not_empty:?}");
        for path in ["/a//b", "/a/../b", "/a/./b", "no-slash", "/\u{1}"] {
            for (name, verb) in VERBS {
                let answer = verb(&*owner, path.to_owned()).await;
                assert!(matches!(answer, Err(ZkError::Refused(_))), "{name} {path:?}: {answer:?}");
            }
        }
        assert_eq!(owner.delete("/no/such").await, Err(ZkError::NoNode));
        assert_eq!(owner.children("/no/such").await, Err(ZkError::NoNode));
        assert_eq!(owner.create_contender("/no/such-").await, Err(ZkError::NoNode));

        owner.delete(&format!("{folder}/child")).await.unwrap();
        owner.delete(&folder).await.unwrap();
    });
}
