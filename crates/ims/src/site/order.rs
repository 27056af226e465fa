//! Whether the order of the identity methods of a mount leaves something to each of them.

use crate::identity::Named;

/// What is wrong with this order.
pub(super) fn fault(order: &[String], identities: &[Named]) -> Option<String> {
    let find = |name: &String| identities.iter().find(|named| named.name == *name);
    let methods: Vec<&Named> = order.iter().filter_map(find).collect();
    let mut pairs = methods.iter().enumerate().flat_map(|(at, a)| methods.iter().skip(at + 1).map(move |b| (a, b)));
    pairs.find_map(|(first, then)| hides(first, then))
}

fn hides(first: &Named, then: &Named) -> Option<String> {
    let (a, b) = (&first.name, &then.name);
    if let Some(proof) = first.method.takes_all().filter(|proof| then.method.takes_all() == Some(proof)) {
        return Some(format!(
            "{a} takes or refuses every {proof}, so that {b} would get none: make one method of the two, or list them at \
             mounts of their own"
        ));
    }
    let shared = first.method.callers().iter().find(|file| then.method.proxies().contains(file))?;
    let file = shared.display();
    Some(format!(
        "{a} would take the certificate of a reverse proxy for the caller's own, since {b} trusts the same authority ({file}): \
         {b} has to stand before {a}, or its proxies need another authority"
    ))
}
