//! From a question and a zone to an answer. Pure.

use std::net::Ipv4Addr;
use std::str::FromStr;

use hickory_proto::op::{Message, MessageType, Metadata, OpCode, Query, ResponseCode};
use hickory_proto::rr::rdata::{A, CNAME, PTR, SOA, SRV, TXT};
use hickory_proto::rr::{Name, RData, Record, RecordType};

use crate::zone::Zone;

/// How long answers may be remembered, in seconds: as CoreDNS has it, short because endpoints come and go.
const TTL: u32 = 5;

/// What becomes of a question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// We know, or know that it does not exist.
    Answer(Box<Message>),
    /// It is about a name outside the cluster.
    Foreign,
}

/// Answers a question from the zone.
pub fn answer(zone: &Zone, request: &Message) -> Outcome {
    let mut metadata = Metadata::response_from_request(&request.metadata);
    metadata.authoritative = true;
    let mut response = Message::response(request.metadata.id, request.metadata.op_code);
    response.metadata = metadata;
    response.add_queries(request.queries.iter().cloned());
    if let Some(asked) = &request.edns {
        let mut edns = hickory_proto::op::Edns::new();
        edns.set_max_payload(1232)
            .set_version(0)
            .set_dnssec_ok(asked.flags().dnssec_ok);
        response.set_edns(edns);
    }
    if request.metadata.message_type != MessageType::Query || request.metadata.op_code != OpCode::Query {
        response.metadata.response_code = ResponseCode::NotImp;
        return Outcome::Answer(Box::new(response));
    }
    let [query] = request.queries.as_slice() else {
        response.metadata.response_code = ResponseCode::FormErr;
        return Outcome::Answer(Box::new(response));
    };
    let name = query.name().to_lowercase().to_ascii().trim_end_matches('.').to_owned();
    if let Some(ip) = reversed(&name) {
        let Some(names) = zone.ptr.get(&ip) else {
            return Outcome::Foreign;
        };
        if matches!(query.query_type(), RecordType::PTR | RecordType::ANY) {
            response
                .answers
                .extend(names.iter().filter_map(|n| record(query, RData::PTR(PTR(full(n)?)))));
        }
        return Outcome::Answer(Box::new(response));
    }
    if name != zone.domain && !name.strip_suffix(&zone.domain).is_some_and(|rest| rest.ends_with('.')) {
        return Outcome::Foreign;
    }
    let found = look_up(zone, query, &name, &mut response);
    if response.answers.is_empty() {
        if !found {
            response.metadata.response_code = ResponseCode::NXDomain;
        }
        response.authorities.extend(authority(zone));
    }
    Outcome::Answer(Box::new(response))
}

/// Adds the records that answer the query; says whether the name exists at all.
fn look_up(zone: &Zone, query: &Query, name: &str, response: &mut Message) -> bool {
    let kind = query.query_type();
    let wants = |record: RecordType| kind == record || kind == RecordType::ANY;
    let mut found = name == zone.domain || zone.inner.contains(name);
    if let Some(other) = zone.cname.get(name) {
        response
            .answers
            .extend(full(other).and_then(|n| record(query, RData::CNAME(CNAME(n)))));
        // Where the other name is ours too, its addresses come along.
        if let (Some(addresses), Some(owner)) = (zone.a.get(other), full(other)) {
            let records = addresses
                .iter()
                .map(|ip| Record::from_rdata(owner.clone(), TTL, RData::A(A(*ip))));
            response.answers.extend(records);
        }
        return true;
    }
    if wants(RecordType::A) {
        response.answers.extend(
            zone.a
                .get(name)
                .into_iter()
                .flatten()
                .filter_map(|ip| record(query, RData::A(A(*ip)))),
        );
        if let Some(ip) = pod_address(zone, name) {
            response.answers.extend(record(query, RData::A(A(ip))));
        }
    }
    found |= pod_address(zone, name).is_some();
    if wants(RecordType::SRV) {
        for target in zone.srv.get(name).into_iter().flatten() {
            let Some(host) = full(&target.host) else { continue };
            let weight = u16::try_from(100 / zone.srv.get(name).map_or(1, |all| all.len().max(1)))
                .unwrap_or(0)
                .max(1);
            response.answers.extend(record(
                query,
                RData::SRV(SRV::new(0, weight, target.port, host.clone())),
            ));
            for ip in zone.a.get(&target.host).into_iter().flatten() {
                response
                    .additionals
                    .push(Record::from_rdata(host.clone(), TTL, RData::A(A(*ip))));
            }
        }
    }
    if wants(RecordType::TXT) {
        let text = zone.txt.get(name).cloned();
        response
            .answers
            .extend(text.and_then(|t| record(query, RData::TXT(TXT::new(vec![t])))));
    }
    if name == zone.domain && wants(RecordType::SOA) {
        response.answers.extend(authority(zone));
    }
    found
}

/// `1-2-3-4.NAMESPACE.pod.DOMAIN` is 1.2.3.4, whether such a pod exists or not (CoreDNS's `pods insecure`).
fn pod_address(zone: &Zone, name: &str) -> Option<Ipv4Addr> {
    let rest = name.strip_suffix(&zone.domain)?.strip_suffix(".pod.")?;
    let (dashed, namespace) = rest.split_once('.')?;
    zone.namespaces
        .contains(namespace)
        .then(|| dashed.replace('-', ".").parse().ok())?
}

/// Reads `4.3.2.1.in-addr.arpa`.
fn reversed(name: &str) -> Option<Ipv4Addr> {
    let forward: Ipv4Addr = name.strip_suffix(".in-addr.arpa")?.parse().ok()?;
    let [a, b, c, d] = forward.octets();
    Some(Ipv4Addr::new(d, c, b, a))
}

fn full(name: &str) -> Option<Name> {
    let mut name = Name::from_str(name).ok()?;
    name.set_fqdn(true);
    Some(name)
}

fn record(query: &Query, data: RData) -> Option<Record> {
    Some(Record::from_rdata(query.name().clone(), TTL, data))
}

fn authority(zone: &Zone) -> Option<Record> {
    let (server, contact) = (
        full(&format!("ns.dns.{}", zone.domain))?,
        full(&format!("hostmaster.{}", zone.domain))?,
    );
    let soa = SOA::new(server, contact, 1, 7200, 1800, 86400, TTL);
    Some(Record::from_rdata(full(&zone.domain)?, TTL, RData::SOA(soa)))
}
