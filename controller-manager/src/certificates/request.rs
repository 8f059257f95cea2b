//! What a PKCS#10 request asks for.

use std::collections::BTreeSet;
use std::net::IpAddr;

use x509_parser::certification_request::X509CertificationRequest;
use x509_parser::extensions::{GeneralName, ParsedExtension};
use x509_parser::prelude::FromDer;

/// The parts of a request that decide whether it may be signed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Requested {
    pub(crate) common_name: String,
    pub(crate) organizations: Vec<String>,
    pub(crate) dns_names: BTreeSet<String>,
    pub(crate) addresses: BTreeSet<IpAddr>,
    /// Email addresses and URIs, which no signer of ours allows.
    pub(crate) other_names: usize,
}

impl Requested {
    /// Reads a request in PEM.
    pub(crate) fn parse(pem: &[u8]) -> Result<Self, String> {
        let (_, pem) = x509_parser::pem::parse_x509_pem(pem).map_err(|error| format!("unreadable PEM: {error}"))?;
        if pem.label != "CERTIFICATE REQUEST" {
            return Err("PEM block type must be CERTIFICATE REQUEST".to_owned());
        }
        let (_, request) = X509CertificationRequest::from_der(&pem.contents)
            .map_err(|error| format!("unreadable request: {error}"))?;
        request
            .verify_signature()
            .map_err(|error| format!("the request is not signed by its own key: {error}"))?;
        let subject = &request.certification_request_info.subject;
        let text = |value: Result<&str, _>| value.unwrap_or("").to_owned();
        let mut requested = Self {
            common_name: subject
                .iter_common_name()
                .next()
                .map_or_else(String::new, |cn| text(cn.as_str())),
            organizations: subject.iter_organization().map(|o| text(o.as_str())).collect(),
            ..Self::default()
        };
        for extension in request.requested_extensions().into_iter().flatten() {
            let ParsedExtension::SubjectAlternativeName(names) = extension else {
                continue;
            };
            for name in &names.general_names {
                match name {
                    GeneralName::DNSName(name) => {
                        requested.dns_names.insert((*name).to_owned());
                    }
                    GeneralName::IPAddress(bytes) => requested.addresses.extend(address(bytes)),
                    _ => requested.other_names += 1,
                }
            }
        }
        Ok(requested)
    }
}

fn address(bytes: &[u8]) -> Option<IpAddr> {
    match bytes.len() {
        4 => <[u8; 4]>::try_from(bytes).ok().map(IpAddr::from),
        16 => <[u8; 16]>::try_from(bytes).ok().map(IpAddr::from),
        _ => None,
    }
}
