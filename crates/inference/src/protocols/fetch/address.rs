//! Which addresses of the internet are everybody's, and which belong to this machine, this network or nobody.
//!
//! Of IPv6 only what is known to be handed out counts as public, so that a range of tomorrow is refused until somebody looks at
//! it. An address that carries another (IPv4 in IPv6, NAT64, 6to4) is judged by the one that it carries.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Why `address` is not public; `None` if it is.
pub(super) fn reserved(address: IpAddr) -> Option<&'static str> {
    match address {
        IpAddr::V4(address) => reserved_v4(address),
        IpAddr::V6(address) => reserved_v6(address),
    }
}

/// After the registry of special-purpose addresses of IANA, and RFC 5771 for multicast.
fn reserved_v4(address: Ipv4Addr) -> Option<&'static str> {
    match address.octets() {
        [127, ..] => Some("loopback"),
        [0, ..] => Some("unspecified"),
        [10, ..] | [172, 16..=31, ..] | [192, 168, ..] => Some("private"),
        [100, 64..=127, ..] => Some("shared by a carrier"),
        [169, 254, ..] => Some("link-local"),
        [192, 0, 0 | 2, _] | [192, 88, 99, _] | [198, 18 | 19, ..] | [198, 51, 100, _] | [203, 0, 113, _] => {
            Some("reserved")
        }
        [224..=239, ..] => Some("multicast"),
        [240..=255, ..] => Some("reserved"),
        _ => None,
    }
}

fn reserved_v6(address: Ipv6Addr) -> Option<&'static str> {
    let parts = address.segments();
    let carried = |high: u16, low: u16| {
        let ([a, b], [c, d]) = (high.to_be_bytes(), low.to_be_bytes());
        reserved_v4(Ipv4Addr::new(a, b, c, d))
    };
    match parts {
        [0, 0, 0, 0, 0, 0, 0, 0] => Some("unspecified"),
        [0, 0, 0, 0, 0, 0, 0, 1] => Some("loopback"),
        [0, 0, 0, 0, 0, 0xffff, high, low] | [0x64, 0xff9b, 0, 0, 0, 0, high, low] => carried(high, low),
        [0x2002, high, low, ..] => carried(high, low),
        [0xfc00..=0xfdff, ..] => Some("private"),
        [0xfe80..=0xfeff, ..] => Some("link-local"),
        [0xff00..=0xffff, ..] => Some("multicast"),
        [0x2001, 0..=0x1ff | 0xdb8, ..] | [0x3fff, 0..=0xfff, ..] => Some("reserved"),
        [0x2000..=0x3fff, ..] => None,
        _ => Some("reserved"),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn addresses_of_this_machine_this_network_and_nobody_are_reserved() {
        let case = |address: &str, expected: Option<&str>| {
            assert_eq!(reserved(address.parse().unwrap()), expected, "{address}");
        };
        case("8.8.8.8", None);
        case("127.0.0.1", Some("loopback"));
        case("127.255.255.254", Some("loopback"));
        case("0.0.0.0", Some("unspecified"));
        case("0.1.2.3", Some("unspecified"));
        case("10.0.0.1", Some("private"));
        case("172.15.255.255", None);
        case("172.16.0.1", Some("private"));
        case("172.31.255.255", Some("private"));
        case("172.32.0.0", None);
        case("192.168.1.1", Some("private"));
        case("192.169.0.1", None);
        case("169.254.169.254", Some("link-local"));
        case("100.63.255.255", None);
        case("100.64.0.1", Some("shared by a carrier"));
        case("100.128.0.1", None);
        case("192.0.0.8", Some("reserved"));
        case("192.0.1.1", None);
        case("198.19.255.255", Some("reserved"));
        case("224.0.0.1", Some("multicast"));
        case("239.255.255.255", Some("multicast"));
        case("240.0.0.1", Some("reserved"));
        case("255.255.255.255", Some("reserved"));
        case("2606:4700:4700::1111", None);
        case("2a00:1450::1", None);
        case("::", Some("unspecified"));
        case("::1", Some("loopback"));
        case("::2", Some("reserved"));
        case("::127.0.0.1", Some("reserved"));
        case("::ffff:127.0.0.1", Some("loopback"));
        case("::ffff:169.254.169.254", Some("link-local"));
        case("::ffff:10.1.2.3", Some("private"));
        case("::ffff:8.8.8.8", None);
        case("64:ff9b::7f00:1", Some("loopback"));
        case("64:ff9b::808:808", None);
        case("64:ff9b:1::a00:1", Some("reserved"));
        case("2002:a9fe:a9fe::1", Some("link-local"));
        case("2002:808:808::1", None);
        case("fc00::1", Some("private"));
        case("fd12:3456::1", Some("private"));
        case("fe80::1", Some("link-local"));
        case("fec0::1", Some("link-local"));
        case("ff02::1", Some("multicast"));
        case("2001::1", Some("reserved"));
        case("2001:db8::1", Some("reserved"));
        case("3fff:fff::1", Some("reserved"));
        case("100::1", Some("reserved"));
        case("4000::1", Some("reserved"));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4096))]

        #[test]
        fn what_the_standard_library_knows_not_to_be_public_is_reserved(
            first in prop::sample::select(vec![0u8, 10, 100, 127, 169, 172, 192, 198, 203, 224, 240, 255, 8, 93]),
            rest in any::<[u8; 3]>(),
        ) {
            let address = Ipv4Addr::new(first, rest[0], rest[1], rest[2]);
            let known = address.is_private() || address.is_loopback() || address.is_link_local() || address.is_multicast()
                || address.is_broadcast() || address.is_documentation() || address.is_unspecified();
            prop_assert!(!known || reserved(address.into()).is_some(), "{address}");
            // However it is written, it is the same address.
            prop_assert_eq!(reserved(address.to_ipv6_mapped().into()), reserved(address.into()));
        }

        #[test]
        fn what_the_standard_library_knows_of_ipv6_is_reserved(
            first in prop_oneof![any::<u16>(), 0xfc00u16..=0xffff, Just(0), Just(0x2001)],
            rest in any::<[u16; 7]>(),
        ) {
            let address = Ipv6Addr::new(first, rest[0], rest[1], rest[2], rest[3], rest[4], rest[5], rest[6]);
            let known = address.is_loopback() || address.is_unspecified() || address.is_multicast()
                || address.is_unique_local() || address.is_unicast_link_local();
            prop_assert!(!known || reserved(address.into()).is_some(), "{address}");
            prop_assert!(reserved(address.into()).is_some() || matches!(first, 0x2000..=0x3fff), "{address}");
        }
    }
}
