//! Seeds: each is a life with faults, after which the world must come to rest as its specs say.

use timonel_tests::sim::chaos;

fn simulate<T>(life: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .start_paused(true)
        .build();
    runtime.expect("a runtime").block_on(life)
}

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok()?.parse().ok()
}

/// Lives the seeds of one eighth of the range.
fn live_through(part: u64) {
    if let Some(seed) = number("SIM_SEED") {
        if part == 0
            && let Err(violation) = simulate(chaos::live(seed))
        {
            panic!("{violation}");
        }
        return;
    }
    let seeds = number("SIM_SEEDS").unwrap_or(200);
    let failed: Vec<String> = (0..seeds)
        .filter(|seed| seed % 8 == part)
        .filter_map(|seed| simulate(chaos::live(seed)).err())
        .collect();
    assert!(
        failed.is_empty(),
        "{} seeds failed:\n{}",
        failed.len(),
        failed.join("\n\n")
    );
}

macro_rules! parts {
    ($($name:ident $part:literal)*) => {
        $(#[test]
        fn $name() {
            live_through($part);
        })*
    };
}

parts! {
    a_healed_cluster_comes_to_rest_1_of_8 0
    a_healed_cluster_comes_to_rest_2_of_8 1
    a_healed_cluster_comes_to_rest_3_of_8 2
    a_healed_cluster_comes_to_rest_4_of_8 3
    a_healed_cluster_comes_to_rest_5_of_8 4
    a_healed_cluster_comes_to_rest_6_of_8 5
    a_healed_cluster_comes_to_rest_7_of_8 6
    a_healed_cluster_comes_to_rest_8_of_8 7
}

#[test]
fn a_seed_replays_byte_for_byte() {
    let (first, second) = (simulate(chaos::live(7)), simulate(chaos::live(7)));
    let (first, second) = (first.expect("seed 7 holds"), second.expect("seed 7 holds"));
    let differs = first.lines().zip(second.lines()).find(|(a, b)| a != b);
    assert_eq!(differs, None, "the first difference");
    assert_eq!(first.len(), second.len());
    assert_ne!(
        first,
        simulate(chaos::live(8)).expect("seed 8 holds"),
        "another seed is another life"
    );
}
