//! Tests with objects that somebody without a key changed in the store.

use proptest::prelude::*;
use proptest::sample::Index;

use super::original::{Original, changes, runtime};

fn no_change_goes_unnoticed(encrypted: bool, cases: u32) {
    let runtime = runtime();
    let world = runtime.block_on(Original::new(encrypted));
    let untouched = runtime.block_on(world.read(&world.objects, &world.trust));
    assert_eq!(untouched.sound, Ok(true));
    assert!(untouched.fetched.unwrap() == world.plain);

    let keys: Vec<_> = world.objects.keys().cloned().collect();
    let config = ProptestConfig {
        cases,
        failure_persistence: None,
        ..ProptestConfig::default()
    };
    let swap_or_change = (
        any::<Index>(),
        prop::option::weighted(0.2, any::<Index>()),
        changes(),
    );
    proptest!(config, |((which, other, change) in swap_or_change)| {
        let mut objects = world.objects.clone();
        let key = which.get(&keys);
        let before = &world.objects[key];
        let changed = match other.map(|other| other.get(&keys)) {
            Some(other) => {
                objects.insert(other.clone(), before.clone());
                world.objects[other].clone()
            }
            None => change.apply(before).into(),
        };
        prop_assume!(changed != before);
        objects.insert(key.clone(), changed);
        let outcome = runtime.block_on(world.read(&objects, &world.trust));

        let swapped = other.map(|other| other.get(&keys));
        let needed = [Some(key), swapped].into_iter().flatten().any(|key| {
            !key.as_str().starts_with("probe/") && key.as_str() != "claim.json"
        });
        prop_assert!(!needed || outcome.sound != Ok(true), "{key} was changed unnoticed");
        if let Ok(bytes) = outcome.fetched {
            prop_assert!(bytes == world.plain, "{key} gave other bytes");
        }
    });
}

#[test]
fn no_change_of_an_encrypted_prefix_goes_unnoticed() {
    no_change_goes_unnoticed(true, 250);
}

#[test]
fn no_change_of_an_unencrypted_prefix_goes_unnoticed() {
    no_change_goes_unnoticed(false, 250);
}
