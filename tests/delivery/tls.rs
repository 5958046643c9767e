//! HTTPS: whom delivery trusts, and how it shows who it is.

use std::path::{Path, PathBuf};

use libtest_mimic::{Failed, Trial};
use serde_json::{Value, json};

use crate::case::Case;
use crate::lab::{self, trial};
use crate::material::HISTORY;
use crate::proxy::Proxy;
use crate::servers::shared;

pub fn trials() -> Vec<Trial> {
    let mut needs = crate::needs();
    needs.push(lab::Need::Program("openssl"));
    vec![
        trial(
            "an_unknown_authority_is_one_sentence_and_with_its_ca_file_all_arrives",
            &needs,
            authority,
        ),
        trial(
            "a_certificate_of_another_name_is_one_sentence",
            &needs,
            other_name,
        ),
        trial(
            "a_server_that_asks_for_a_certificate_gets_it",
            &needs,
            client_certificate,
        ),
    ]
}

/// An authority of its own, and what it signed.
struct Authority(PathBuf);

impl Authority {
    fn new(folder: &Path) -> Self {
        let authority = Self(folder.join("tls"));
        std::fs::create_dir(&authority.0).unwrap();
        authority.openssl(&[
            "-keyout",
            "ca.key",
            "-out",
            "ca.pem",
            "-subj",
            "/CN=an authority",
        ]);
        authority
    }

    fn file(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    fn openssl(&self, more: &[&str]) {
        let mut command = std::process::Command::new("openssl");
        command
            .current_dir(&self.0)
            .args(["req", "-x509", "-newkey", "ec", "-nodes", "-days", "2"]);
        command
            .args(["-pkeyopt", "ec_paramgen_curve:P-256"])
            .args(more);
        let done = lab::finish(&mut command);
        assert_eq!(done.code, 0, "{}", done.err);
    }

    fn sign(&self, name: &str, about: &str) {
        let (key, certificate) = (format!("{name}.key"), format!("{name}.pem"));
        self.openssl(&[
            "-keyout",
            &key,
            "-out",
            &certificate,
            "-subj",
            "/CN=somebody",
            "-CA",
            "ca.pem",
            "-CAkey",
            "ca.key",
            "-addext",
            about,
            "-addext",
            "basicConstraints=critical,CA:FALSE",
        ]);
    }

    fn proxy(&self, case: &Case, name: &str, mut told: Value) -> Proxy {
        told["cert"] = json!(self.file(&format!("{name}.pem")));
        told["key"] = json!(self.file(&format!("{name}.key")));
        Proxy::told(case.servers, told)
    }

    fn trust(&self, case: &mut Case) {
        case.set(
            "timesketch",
            "ca_file",
            &format!("{:?}", self.file("ca.pem")),
        );
    }
}

fn authority() -> Result<(), Failed> {
    let _shared = shared();
    let mut case = Case::of(&[HISTORY]);
    let authority = Authority::new(case.work.path());
    authority.sign("server", "subjectAltName=IP:127.0.0.1");
    let proxy = authority.proxy(&case, "server", json!({}));
    case.to(&proxy.url());
    case.stops(5, &["trust the certificate", "ca_file"]);
    assert_eq!(
        proxy.saw(""),
        0,
        "nothing was said before it was known to whom"
    );
    authority.trust(&mut case);
    case.delivers();
    Ok(())
}

fn other_name() -> Result<(), Failed> {
    let _shared = shared();
    let mut case = Case::of(&[HISTORY]);
    let authority = Authority::new(case.work.path());
    authority.sign("server", "subjectAltName=DNS:timesketch.example.org");
    let proxy = authority.proxy(&case, "server", json!({}));
    case.to(&proxy.url());
    authority.trust(&mut case);
    case.stops(5, &["trust the certificate", &proxy.url()]);
    assert_eq!(proxy.saw(""), 0, "nothing was said");
    Ok(())
}

fn client_certificate() -> Result<(), Failed> {
    let _shared = shared();
    let mut case = Case::of(&[HISTORY]);
    let authority = Authority::new(case.work.path());
    authority.sign("server", "subjectAltName=IP:127.0.0.1");
    authority.sign("client", "extendedKeyUsage=clientAuth");
    let told = json!({"client_ca": authority.file("ca.pem")});
    let proxy = authority.proxy(&case, "server", told);
    case.to(&proxy.url());
    authority.trust(&mut case);
    case.stops(5, &["show", &proxy.url(), "client_certificate"]);
    let both = ["client.pem", "client.key"]
        .map(|name| std::fs::read_to_string(authority.file(name)).unwrap());
    let file = case.at("client-both.pem");
    std::fs::write(&file, both.concat()).unwrap();
    lab::tool("chmod", &["600".as_ref(), file.as_os_str()]);
    case.set("timesketch", "client_certificate", &format!("{file:?}"));
    case.delivers();
    Ok(())
}
