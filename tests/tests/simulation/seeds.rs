//! Seeds: each is a life with faults, after which the world must come to rest as its specs say.

use timonel_tests::sim::{chaos, simulate};

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok()?.parse().ok()
}

/// Lives the seeds of one sixteenth of the range.
fn live_through(part: u64) {
    if let Some(seed) = number("SIM_SEED") {
        if part == 0 {
            let (history, outcome) = simulate(seed, chaos::live(seed));
            if let Some(file) = std::env::var_os("SIM_HISTORY") {
                std::fs::write(file, history).expect("writable");
            }
            if let Err(violation) = outcome {
                panic!("{violation}");
            }
        }
        return;
    }
    let (from, seeds) = (number("SIM_FROM").unwrap_or(0), number("SIM_SEEDS").unwrap_or(200));
    let failed: Vec<String> = (from..from + seeds)
        .filter(|seed| seed % 16 == part)
        .filter_map(|seed| simulate(seed, chaos::live(seed)).1.err())
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
    a_healed_cluster_comes_to_rest_1_of_16 0
    a_healed_cluster_comes_to_rest_2_of_16 1
    a_healed_cluster_comes_to_rest_3_of_16 2
    a_healed_cluster_comes_to_rest_4_of_16 3
    a_healed_cluster_comes_to_rest_5_of_16 4
    a_healed_cluster_comes_to_rest_6_of_16 5
    a_healed_cluster_comes_to_rest_7_of_16 6
    a_healed_cluster_comes_to_rest_8_of_16 7
    a_healed_cluster_comes_to_rest_9_of_16 8
    a_healed_cluster_comes_to_rest_10_of_16 9
    a_healed_cluster_comes_to_rest_11_of_16 10
    a_healed_cluster_comes_to_rest_12_of_16 11
    a_healed_cluster_comes_to_rest_13_of_16 12
    a_healed_cluster_comes_to_rest_14_of_16 13
    a_healed_cluster_comes_to_rest_15_of_16 14
    a_healed_cluster_comes_to_rest_16_of_16 15
}

/// Where two histories part, with what surrounds the place.
fn difference(first: &str, second: &str) -> Option<String> {
    if first == second {
        return None;
    }
    let line = first.lines().zip(second.lines()).position(|(a, b)| a != b);
    let line = line.unwrap_or_else(|| first.lines().count().min(second.lines().count()));
    let (a, b) = (
        first.lines().nth(line).unwrap_or(""),
        second.lines().nth(line).unwrap_or(""),
    );
    let column = a.bytes().zip(b.bytes()).position(|(a, b)| a != b).unwrap_or(0);
    let near = |text: &str| {
        let around = text.bytes().skip(column.saturating_sub(200)).take(400);
        String::from_utf8_lossy(&around.collect::<Vec<u8>>()).into_owned()
    };
    let key = |text: &str| text.chars().take(80).collect::<String>();
    Some(format!(
        "line {line}\n< {}\n> {}\n< {}\n> {}",
        key(a),
        key(b),
        near(a),
        near(b)
    ))
}

#[test]
fn a_seed_replays_byte_for_byte() {
    let (first, second) = (simulate(7, chaos::live(7)).0, simulate(7, chaos::live(7)).0);
    if let Some(difference) = difference(&first, &second) {
        panic!("{difference}");
    }
    assert_ne!(first, simulate(8, chaos::live(8)).0, "another seed is another life");
}
