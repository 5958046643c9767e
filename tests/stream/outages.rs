//! Nodes and indexes that go away, and servers that do not know us.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use dfagent::opensearch::{ClientError, Position, ShipError};
use libtest_mimic::Failed;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use serde_json::{Value, json};

use crate::Test;
use crate::case::{Case, plain};
use crate::node::Node;
use crate::proxy::Proxy;

pub const TESTS: [(&str, Test); 5] = [
    (
        "an_index_that_is_closed_or_deleted_meanwhile_is_told_and_not_made_anew",
        gone,
    ),
    (
        "a_node_that_is_killed_and_comes_back_has_all_documents_once",
        killed,
    ),
    ("of_two_nodes_one_is_enough", two_nodes),
    (
        "with_tls_a_wrong_password_is_sent_once_and_with_the_right_one_all_arrives",
        tls,
    ),
    ("connections_that_break_lose_nothing", broken),
];

fn gone(version: &'static str) -> Result<(), Failed> {
    for (method, what) in [("POST", "_close"), ("DELETE", "")] {
        let mut case = Case::shared(version);
        case.settings.bulk_mib = 1;
        case.write(&plain(12_000));
        let (node, path) = (Arc::clone(&case.node), format!("{}/{what}", case.index));
        let done = AtomicBool::new(false);
        let stopped = case.ship_until(Position::default(), &|progress| {
            if progress.position.documents > 1_000 && !done.swap(true, Ordering::Relaxed) {
                node.tell(method, &path, &Value::Null);
            }
        });
        let error = stopped.unwrap_err();
        assert!(
            matches!(&error, ShipError::Gone(_)),
            "{method} {what}: {error}"
        );
        let again = case.ship_from(Position::default()).unwrap_err();
        assert!(
            matches!(&again, ShipError::Gone(_)),
            "{method} {what}: {again}"
        );
        if what.is_empty() {
            assert_eq!(
                case.node.ask("GET", &case.index, &Value::Null).0,
                404,
                "it was not made anew"
            );
            let alias = format!("{}-in", case.index);
            assert_eq!(
                case.node.ask("GET", &alias, &Value::Null).0,
                404,
                "nor under its other name"
            );
        }
        case.end();
    }
    Ok(())
}

fn killed(version: &'static str) -> Result<(), Failed> {
    let node = Arc::new(Node::start(version, &[]));
    let mut case = Case::on(Arc::clone(&node));
    case.settings.bulk_mib = 1;
    case.write(&plain(20_000));
    let (dead, alive) = (AtomicBool::new(false), AtomicBool::new(false));
    let position = case.ship_until(Position::default(), &|progress| {
        if progress.position.documents > 4_000 && !dead.swap(true, Ordering::Relaxed) {
            node.kill();
        }
        if progress.waits.is_some() && !alive.swap(true, Ordering::Relaxed) {
            node.start_again();
        }
    });
    let position = position.unwrap();
    assert_eq!(
        (position.documents, position.refused, position.mended),
        (20_000, 0, 0)
    );
    case.is_whole(position);
    assert!(alive.into_inner(), "it noticed");
    Ok(())
}

/// A port on which nobody listens.
fn nobody() -> String {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    format!("http://{}", listener.local_addr().unwrap())
}

fn two_nodes(version: &'static str) -> Result<(), Failed> {
    let mut case = Case::shared(version);
    let url = std::mem::take(&mut case.settings.url);
    for urls in [[nobody(), url.clone()], [url, nobody()]] {
        case.settings.urls = urls.to_vec();
        case.ships(&plain(3_000));
        assert!(case.waits().is_empty(), "{:?}", case.waits());
    }
    case.settings.urls = vec![nobody(), nobody()];
    let error = case.run(async { case.client().about().await.unwrap_err() });
    assert!(
        error.to_string().starts_with("reach http://127.0.0.1:"),
        "{error}"
    );
    case.settings.urls.clear();
    case.settings.url = case.node.url.clone();
    case.end();
    Ok(())
}

fn private(path: PathBuf, text: &str) -> PathBuf {
    fs::write(&path, text).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    path
}

/// A certificate for loopback: the authority's, the server's, and its key.
fn certificates(at: &dyn Fn(&str) -> PathBuf) -> [PathBuf; 3] {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
    let certificate = params.signed_by(&key, &issuer).unwrap();
    [
        private(at("ca.pem"), &issuer.pem()),
        private(at("server.pem"), &certificate.pem()),
        private(at("server.key"), &key.serialize_pem()),
    ]
}

fn tls(version: &'static str) -> Result<(), Failed> {
    let mut case = Case::shared(version);
    let [authority, certificate, key] = certificates(&|name| case.at(name));
    let unknown = json!([{"do": "status", "status": 401, "times": 1, "kind": "application/json", "text": "{}"}]);
    let told = json!({"cert": certificate, "key": key, "rules": unknown});
    let proxy = Proxy::told(&case.node, told);
    case.settings.url = proxy.url();
    let error = case.run(async { case.client().about().await.unwrap_err() });
    assert!(error.to_string().contains("ca_file"), "{error}");
    assert_eq!(proxy.saw(""), 0, "nothing was said");
    case.settings.ca_file = authority;
    case.settings.user = "agent".into();
    case.settings.password_file = private(case.at("password"), "wrong\n");
    let client = case.client();
    let refused = |client: &dfagent::opensearch::Client| {
        let error = case.run(client.about()).unwrap_err();
        assert!(matches!(error, ClientError::Credentials { .. }), "{error}");
    };
    refused(&client);
    refused(&client);
    assert_eq!(proxy.saw(""), 1, "it was sent once");
    private(case.at("password"), "right\n");
    case.run(client.about()).unwrap();
    case.ships(&plain(3_000));
    case.settings.url = case.node.url.clone();
    case.end();
    Ok(())
}

fn broken(version: &'static str) -> Result<(), Failed> {
    let mut case = Case::shared(version);
    case.settings.bulk_mib = 1;
    let rules: Vec<Value> = ["within", "after", "lost", "before", "lost"]
        .iter()
        .enumerate()
        .map(|(at, what)| json!({"path": format!("/{}-in/", case.index), "method": "POST", "do": what, "skip": at, "times": 1}))
        .collect();
    let proxy = Proxy::with_rules(&case.node, &Value::from(rules));
    case.settings.url = proxy.url();
    let position = case.ships(&plain(12_000));
    assert_eq!((position.refused, position.mended), (0, 0));
    for what in ["within", "after", "lost", "before"] {
        assert!(proxy.did(what) > 0, "{what}: {:?}", proxy.said());
    }
    case.settings.url = case.node.url.clone();
    case.end();
    Ok(())
}
