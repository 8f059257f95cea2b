//! What a certificate request asks for.

use std::collections::BTreeSet;
use std::net::IpAddr;

use x509_parser::certification_request::X509CertificationRequest;
use x509_parser::extensions::{GeneralName, ParsedExtension};
use x509_parser::prelude::FromDer as _;

/// Subject and names of a request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Contents {
    pub(crate) common_name: String,
    pub(crate) organizations: Vec<String>,
    pub(crate) dns: BTreeSet<String>,
    pub(crate) ips: BTreeSet<IpAddr>,
    /// E-mail addresses, URIs and anything else that nodes must not ask for.
    pub(crate) others: bool,
}

/// Reads a request in PEM; `None` when it is malformed or its signature does not match its key.
pub(crate) fn parse(pem: &[u8]) -> Option<Contents> {
    let (_, pem) = x509_parser::pem::parse_x509_pem(pem).ok()?;
    let (_, request) = X509CertificationRequest::from_der(&pem.contents).ok()?;
    let subject = &request.certification_request_info.subject;
    let mut contents = Contents {
        common_name: subject.iter_common_name().next()?.as_str().ok()?.to_owned(),
        organizations: subject
            .iter_organization()
            .filter_map(|name| Some(name.as_str().ok()?.to_owned()))
            .collect(),
        ..Contents::default()
    };
    for extension in request.requested_extensions().into_iter().flatten() {
        let ParsedExtension::SubjectAlternativeName(names) = extension else {
            continue;
        };
        for name in &names.general_names {
            match name {
                GeneralName::DNSName(name) => {
                    contents.dns.insert((*name).to_owned());
                }
                GeneralName::IPAddress(bytes) => {
                    let four = <[u8; 4]>::try_from(*bytes).map(IpAddr::from);
                    let ip = four.or_else(|_| <[u8; 16]>::try_from(*bytes).map(IpAddr::from)).ok()?;
                    contents.ips.insert(ip);
                }
                _ => contents.others = true,
            }
        }
    }
    Some(contents)
}
