use std::os::unix::fs::PermissionsExt;

use jiff::Timestamp;
use timonel_client::OsRng;

use super::*;

#[derive(Debug)]
struct At(Timestamp);

impl Clock for At {
    fn now(&self) -> Timestamp {
        self.0
    }
}

fn at(day: i64) -> Arc<dyn Clock> {
    Arc::new(At(Timestamp::from_second(1_790_000_000 + day * 86_400).unwrap()))
}

fn rng() -> Arc<dyn Rng> {
    Arc::new(OsRng)
}

fn open(dir: &Path, day: i64) -> Pki {
    Pki::load_or_create(dir, &PkiConfig::default(), &at(day), &rng()).unwrap()
}

#[test]
fn a_restart_finds_the_same_keys() {
    let dir = tempfile::tempdir().unwrap();
    let (first, second) = (open(dir.path(), 0), open(dir.path(), 1));
    assert_eq!(first.ca_pem(), second.ca_pem());
    assert_eq!(first.serving().cert_pem, second.serving().cert_pem);
    assert_eq!(first.service_account_key(), second.service_account_key());
    assert_eq!(first.encryption_keys()[0].key, second.encryption_keys()[0].key);
}

#[test]
fn files_are_private_and_the_kubeconfig_is_there() {
    let dir = tempfile::tempdir().unwrap();
    open(dir.path(), 0);
    for name in [
        "pki/ca.key",
        "pki/sa.key",
        "pki/encryption.key",
        "admin.kubeconfig",
        "proxy.kubeconfig",
    ] {
        let mode = std::fs::metadata(dir.path().join(name)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{name}");
    }
    let folder = std::fs::metadata(dir.path().join("pki")).unwrap().permissions().mode();
    assert_eq!(folder & 0o777, 0o700);
    let text = std::fs::read_to_string(dir.path().join("admin.kubeconfig")).unwrap();
    let config = kube::config::Kubeconfig::from_yaml(&text).unwrap();
    assert_eq!(config.current_context.as_deref(), Some("kubernetes-admin@timonel"));
}

#[test]
fn leaf_certificates_are_renewed_when_less_than_a_third_of_their_life_is_left() {
    let dir = tempfile::tempdir().unwrap();
    let first = open(dir.path(), 0);
    assert_eq!(first.serving().cert_pem, open(dir.path(), 240).serving().cert_pem);
    let renewed = open(dir.path(), 250);
    assert_ne!(first.serving().cert_pem, renewed.serving().cert_pem);
    assert_eq!(first.ca_pem(), renewed.ca_pem(), "the authority stays");
}

#[test]
fn a_new_server_name_gets_a_new_serving_certificate() {
    let dir = tempfile::tempdir().unwrap();
    let first = open(dir.path(), 0);
    let config = PkiConfig {
        server_names: vec!["lab.example.com".to_owned()],
        ..PkiConfig::default()
    };
    let second = Pki::load_or_create(dir.path(), &config, &at(0), &rng()).unwrap();
    assert_ne!(first.serving().cert_pem, second.serving().cert_pem);
    assert_eq!(first.admin().cert_pem, second.admin().cert_pem);
}

#[test]
fn a_damaged_authority_is_never_replaced() {
    let dir = tempfile::tempdir().unwrap();
    open(dir.path(), 0);
    std::fs::write(dir.path().join("pki/ca.crt"), "nonsense").unwrap();
    let error = Pki::load_or_create(dir.path(), &PkiConfig::default(), &at(0), &rng()).unwrap_err();
    assert!(matches!(error, PkiError::Damaged { .. }), "{error}");
    std::fs::remove_file(dir.path().join("pki/ca.crt")).unwrap();
    std::fs::write(dir.path().join("pki/encryption.key"), "k1 zz\n").unwrap();
    let error = Pki::load_or_create(dir.path(), &PkiConfig::default(), &at(0), &rng()).unwrap_err();
    assert!(matches!(error, PkiError::Damaged { .. }), "{error}");
}

#[test]
fn both_tls_configurations_are_accepted_by_rustls() {
    let pki = Pki::in_memory(&PkiConfig::default(), &at(0), &rng()).unwrap();
    assert_eq!(pki.server_config().unwrap().alpn_protocols.len(), 2);
    pki.kubelet_client_config().unwrap();
    pki.client_verifier().unwrap();
    assert!(pki.ca_files().is_none());
}

#[test]
fn certificates_are_renewed_while_everything_runs() {
    let dir = tempfile::tempdir().unwrap();
    let pki = open(dir.path(), 0);
    let kubeconfig = || std::fs::read_to_string(dir.path().join("scheduler.kubeconfig")).unwrap();
    let (first, config) = (pki.serving().cert_pem, kubeconfig());
    assert!(pki.renew(at(240).as_ref(), rng().as_ref()).unwrap().is_empty());
    let renewed = pki.renew(at(250).as_ref(), rng().as_ref()).unwrap();
    assert_eq!(
        renewed,
        ["kube-apiserver", "kube-apiserver-kubelet-client", "kubernetes-admin"]
    );
    assert_ne!(pki.serving().cert_pem, first);
    assert_ne!(kubeconfig(), config, "and the kubeconfigs say so");
    assert_eq!(
        open(dir.path(), 250).serving().cert_pem,
        pki.serving().cert_pem,
        "a restart finds them"
    );
    assert!(pki.renew(at(251).as_ref(), rng().as_ref()).unwrap().is_empty());
}
