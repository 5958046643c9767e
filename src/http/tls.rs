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
