//! RSA: the hashes of its signatures, and its private key as the crypto library reads it.

use zeroize::Zeroizing;

use crate::wire::{Reader, WireError};

/// The hash of a signature with an RSA key (RFC 8332).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RsaHash {
    /// `ssh-rsa`, for servers that know no other.
    Sha1,
    /// `rsa-sha2-256`.
    Sha256,
    /// `rsa-sha2-512`.
    Sha512,
}

impl RsaHash {
    /// The flags of a request to an agent.
    pub(crate) fn agent_flags(self) -> u32 {
        match self {
            Self::Sha1 => 0,
            Self::Sha256 => 2,
            Self::Sha512 => 4,
        }
    }
}

/// An RSA private key of OpenSSH (n, e, d, iqmp, p, q) in the DER of PKCS#1, RFC 8017, section A.1.2.
pub(crate) fn pkcs1(reader: &mut Reader<'_>) -> Result<Zeroizing<Vec<u8>>, WireError> {
    let mut next = || reader.positive();
    let (modulus, public, private, inverse) = (next()?, next()?, next()?, next()?);
    let (first, second) = (next()?, next()?);
    let (of_first, of_second) = (exponent(private, first), exponent(private, second));
    let numbers: [&[u8]; 9] = [&[0], modulus, public, private, first, second, &of_first, &of_second, inverse];
    // Of their full size from the start, so that no copies of the secrets are left behind.
    let size = numbers.iter().map(|number| number.len() + 6).sum::<usize>();
    let mut body = Zeroizing::new(Vec::with_capacity(size));
    for number in numbers {
        integer(&mut body, number);
    }
    let mut der = Zeroizing::new(Vec::with_capacity(body.len() + 6));
    head(&mut der, 0x30, body.len());
    der.extend_from_slice(&body);
    Ok(der)
}

fn integer(into: &mut Vec<u8>, number: &[u8]) {
    let zeros = number.iter().take_while(|byte| **byte == 0).count().min(number.len() - 1);
    let digits = &number[zeros..];
    let sign = usize::from(digits[0] >= 0x80);
    head(into, 0x02, digits.len() + sign);
    into.extend(std::iter::repeat_n(0, sign));
    into.extend_from_slice(digits);
}

fn head(into: &mut Vec<u8>, tag: u8, length: usize) {
    into.push(tag);
    let bytes = length.to_be_bytes();
    let bytes = &bytes[bytes.iter().take_while(|byte| **byte == 0).count()..];
    match bytes {
        [length] if *length < 0x80 => into.push(*length),
        // A usize has eight bytes at most.
        _ => {
            into.push(0x80 | u8::try_from(bytes.len()).unwrap_or_default());
            into.extend_from_slice(bytes);
        }
    }
}

/// `private mod (prime - 1)`, in steps that do not depend on the secrets.
fn exponent(private: &[u8], prime: &[u8]) -> Zeroizing<Vec<u8>> {
    // One byte more than the prime, for what is shifted out before it is subtracted.
    let mut modulus = Zeroizing::new(vec![0; prime.len() + 1]);
    modulus[1..].copy_from_slice(prime);
    // The prime is odd.
    modulus[prime.len()] &= 0xfe;
    let mut rest = Zeroizing::new(vec![0_u8; modulus.len()]);
    let mut less = Zeroizing::new(vec![0_u8; modulus.len()]);
    for bit in private.iter().flat_map(|byte| (0..8).rev().map(move |shift| (byte >> shift) & 1)) {
        let mut carry = bit;
        for byte in rest.iter_mut().rev() {
            let high = *byte >> 7;
            *byte = (*byte << 1) | carry;
            carry = high;
        }
        let mut borrow = 0_u16;
        for ((less, rest), modulus) in less.iter_mut().zip(rest.iter()).zip(modulus.iter()).rev() {
            let difference = 0x100 + u16::from(*rest) - u16::from(*modulus) - borrow;
            let [high, low] = difference.to_be_bytes();
            *less = low;
            borrow = 1 - u16::from(high);
        }
        // All ones if the modulus was not more than the rest.
        let [_, mask] = borrow.wrapping_sub(1).to_be_bytes();
        for (rest, less) in rest.iter_mut().zip(less.iter()) {
            *rest = (*less & mask) | (*rest & !mask);
        }
    }
    rest
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn exponents_are_remainders(d: u128, prime in 2_u64..) {
            let prime = prime | 1;
            let found = exponent(&d.to_be_bytes(), &prime.to_be_bytes());
            let expected = d % u128::from(prime - 1);
            prop_assert_eq!(&found[1..], &u64::try_from(expected).expect("smaller").to_be_bytes());
        }
    }

    #[test]
    fn lengths_are_as_der_has_them() {
        for (length, bytes) in [(0x7f, &[2, 0x7f][..]), (0x80, &[2, 0x81, 0x80]), (0x1234, &[2, 0x82, 0x12, 0x34])] {
            let mut into = Vec::new();
            head(&mut into, 2, length);
            assert_eq!(into, bytes);
        }
        let mut into = Vec::new();
        for number in [&[0][..], &[0, 0x80], &[0x7f]] {
            integer(&mut into, number);
        }
        assert_eq!(into, [2, 1, 0, 2, 2, 0, 0x80, 2, 1, 0x7f]);
    }
}
