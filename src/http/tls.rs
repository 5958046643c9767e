//! Whom we trust and who we are, for TLS. Nothing is set for the whole process.

use std::path::Path;
use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};

use super::{Setup, WireError};
use crate::durable;

/// Far more than all authorities of a system.
const MOST_BYTES: u64 = 16 * 1024 * 1024;

pub(super) fn configuration(setup: &Setup<'_>, encrypted: bool) -> Result<ClientConfig, WireError> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let roots = if encrypted {
        authorities(setup)?
    } else {
        RootCertStore::empty()
    };
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(|error| unusable(setup.certificate, &error))?;
    let builder = if encrypted {
        let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider)
            .build()
            .map_err(|_| WireError::NoAuthorities {
                section: setup.section,
            })?;
        builder.with_webpki_verifier(verifier)
    } else {
        builder.with_root_certificates(roots)
    };
    if setup.certificate.as_os_str().is_empty() {
        return Ok(builder.with_no_client_auth());
    }
    let path = setup.certificate;
    let pem = read(path)?;
    let chain = certificates(path, &pem)?;
    let key = PrivateKeyDer::from_pem_slice(&pem).map_err(|_| {
        refused(
            path,
            "it holds no private key in PEM form without a password",
        )
    })?;
    builder
        .with_client_auth_cert(chain, key)
        .map_err(|error| unusable(path, &error))
}

fn authorities(setup: &Setup<'_>) -> Result<RootCertStore, WireError> {
    let mut roots = RootCertStore::empty();
    // A system's collection may hold old ones that no longer parse; they are nobody's fault.
    let native = rustls_native_certs::load_native_certs();
    roots.add_parsable_certificates(native.certs);
    if !setup.ca_file.as_os_str().is_empty() {
        let path = setup.ca_file;
        for certificate in certificates(path, &read(path)?)? {
            roots
                .add(certificate)
                .map_err(|error| unusable(path, &error))?;
        }
    }
    if roots.is_empty() {
        return Err(WireError::NoAuthorities {
            section: setup.section,
        });
    }
    Ok(roots)
}

fn read(path: &Path) -> Result<zeroize::Zeroizing<Vec<u8>>, WireError> {
    // Such files are often links, and hold nothing that somebody could want us to read instead.
    let real = path
        .canonicalize()
        .map_err(|error| refused(path, &error.kind().to_string()))?;
    match durable::read(&real, MOST_BYTES) {
        Ok(Some(bytes)) => Ok(zeroize::Zeroizing::new(bytes)),
        Ok(None) => Err(refused(path, "there is no such file")),
        Err(error) => Err(refused(path, &crate::printable::causes(&error))),
    }
}

fn certificates(path: &Path, pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, WireError> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    match found {
        Ok(found) if !found.is_empty() => Ok(found),
        Ok(_) => Err(refused(path, "it holds no certificate in PEM form")),
        Err(_) => Err(refused(path, "it is damaged, or not in PEM form")),
    }
}

fn unusable(path: &Path, error: &rustls::Error) -> WireError {
    refused(path, &crate::printable::line(&error.to_string(), 200))
}

fn refused(path: &Path, problem: &str) -> WireError {
    WireError::Certificates {
        path: path.to_path_buf(),
        problem: problem.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
    use reqwest::Method;
    use tempfile::TempDir;
    use tokio_rustls::TlsAcceptor;
    use tokio_rustls::rustls::{self as server, pki_types};

    use super::super::tests::{LIMITS, Stub, ask, json, problem};
    use super::super::{Answer, Problem, Wire};
    use super::*;

    struct Authority {
        folder: TempDir,
        issuer: CertifiedIssuer<'static, KeyPair>,
    }

    impl Authority {
        fn new() -> Self {
            let mut params = CertificateParams::new(Vec::new()).unwrap();
            let key = KeyPair::generate().unwrap();
            // Authorities of one name would be taken for each other.
            let name = crate::durable::hash_reader(key.public_key_raw()).unwrap().0;
            params.distinguished_name.push(DnType::CommonName, name);
            params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
            let issuer = CertifiedIssuer::self_signed(params, key).unwrap();
            let folder = TempDir::new().unwrap();
            let this = Self { folder, issuer };
            this.file("ca.pem", &this.issuer.pem());
            this
        }

        fn file(&self, name: &str, text: &str) -> PathBuf {
            let path = self.folder.path().join(name);
            crate::durable::write(&path, text.as_bytes()).unwrap();
            path
        }

        /// A certificate and its key; `old`: it is past its time.
        fn sign(&self, name: &str, old: bool) -> (rcgen::Certificate, KeyPair) {
            let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
            if old {
                params.not_after = rcgen::date_time_ymd(2020, 1, 1);
            }
            let key = KeyPair::generate().unwrap();
            (params.signed_by(&key, &self.issuer).unwrap(), key)
        }

        fn acceptor(&self, name: &str, old: bool, mutual: bool) -> TlsAcceptor {
            let (certificate, key) = self.sign(name, old);
            let provider = Arc::new(server::crypto::ring::default_provider());
            let builder = server::ServerConfig::builder_with_provider(Arc::clone(&provider))
                .with_safe_default_protocol_versions()
                .unwrap();
            let mut roots = server::RootCertStore::empty();
            roots.add(self.issuer.der().clone()).unwrap();
            let clients = server::server::WebPkiClientVerifier::builder_with_provider(
                Arc::new(roots),
                provider,
            );
            let builder = if mutual {
                builder.with_client_cert_verifier(clients.build().unwrap())
            } else {
                builder.with_no_client_auth()
            };
            let key = pki_types::PrivateKeyDer::try_from(key.serialize_der()).unwrap();
            let chain = vec![certificate.der().clone()];
            Arc::new(builder.with_single_cert(chain, key).unwrap()).into()
        }
    }

    async fn get_encrypted(
        acceptor: TlsAcceptor,
        ca_file: &Path,
        certificate: &Path,
    ) -> Result<Answer, WireError> {
        let stub = Stub::serve(Some(acceptor), |_| json("200 OK", "{}")).await;
        let url = format!("https://localhost:{}", stub.address.port());
        let wire = Wire::new(&Setup {
            fits: crate::config::delivery::is_web_address,
            url: &url,
            section: "timesketch",
            ca_file,
            certificate,
            limits: LIMITS,
        })
        .unwrap();
        ask(&wire, Method::POST, None).await
    }

    #[tokio::test]
    async fn only_a_known_authority_s_certificate_for_this_name_and_time_will_do() {
        let (ours, theirs, none) = (Authority::new(), Authority::new(), Path::new(""));
        let ca = ours.folder.path().join("ca.pem");
        let good = get_encrypted(ours.acceptor("localhost", false, false), &ca, none).await;
        assert_eq!(good.unwrap().status, 200);
        let of = |acceptor| async { problem(get_encrypted(acceptor, &ca, none).await) };
        let foreign = of(theirs.acceptor("localhost", false, false)).await;
        assert_eq!(foreign, (Problem::UnknownAuthority, false));
        let other = of(ours.acceptor("elsewhere", false, false)).await;
        assert_eq!(
            other,
            (
                Problem::BadCertificate("it is for another name".into()),
                false
            )
        );
        let old = of(ours.acceptor("localhost", true, false)).await;
        assert_eq!(
            old,
            (Problem::BadCertificate("it has expired".into()), false)
        );
    }

    #[tokio::test]
    async fn a_server_may_want_our_certificate() {
        let (ours, theirs) = (Authority::new(), Authority::new());
        let ca = ours.folder.path().join("ca.pem");
        let pem = |authority: &Authority| {
            let (certificate, key) = authority.sign("agent", false);
            let text = format!("{}{}", key.serialize_pem(), certificate.pem());
            authority.file("agent.pem", &text)
        };
        let mutual = || ours.acceptor("localhost", false, true);
        let good = get_encrypted(mutual(), &ca, &pem(&ours)).await;
        assert_eq!(good.unwrap().status, 200);
        for certificate in [PathBuf::new(), pem(&theirs)] {
            let (problem, _) = problem(get_encrypted(mutual(), &ca, &certificate).await);
            assert!(matches!(problem, Problem::OurCertificate(_)), "{problem:?}");
        }
    }

    #[test]
    fn files_without_certificates_are_refused_by_name() {
        let folder = TempDir::new().unwrap();
        let (empty, odd) = (folder.path().join("empty"), folder.path().join("odd"));
        crate::durable::write(&empty, b"").unwrap();
        crate::durable::write(
            &odd,
            b"-----BEGIN CERTIFICATE-----\n!!\n-----END CERTIFICATE-----\n",
        )
        .unwrap();
        let missing = folder.path().join("missing");
        for path in [&empty, &odd, &missing] {
            for (ca_file, certificate) in [(path.as_path(), Path::new("")), (Path::new(""), path)] {
                let error = Wire::new(&Setup {
                    fits: crate::config::delivery::is_web_address,
                    url: "https://t.example",
                    section: "timesketch",
                    ca_file,
                    certificate,
                    limits: LIMITS,
                })
                .unwrap_err();
                assert!(
                    error.to_string().contains(path.to_str().unwrap()),
                    "{error}"
                );
            }
        }
    }
}
