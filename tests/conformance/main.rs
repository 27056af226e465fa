//! The numbered cases of `docs/conformance.md`, against the real binary over real sockets. The table here has a row for
//! each of them, and a test of its own for each row; the table of the documentation says who depends on it.

mod addresses;
mod containers;
mod hosts;
mod http;
mod listing;
mod roles;
#[path = "../support/mod.rs"]
mod support;
mod tokens;
mod tree;

use std::{fs, net::SocketAddr, path::PathBuf};

use alppaca::mock_ims::Behaviour;
use support::{Daemon, Ims, Response, request};

const LIST: &str = "/latest/meta-data/iam/security-credentials/";
const ROLE: &str = "/latest/meta-data/iam/security-credentials/test_role";

/// A row is the number of a case, the name of its test, and what tests it.
macro_rules! cases {
    ($($number:literal $name:ident => $check:path;)*) => {
        const CASES: &[(u8, &str)] = &[$(($number, stringify!($name)),)*];
        $(
            #[test]
            fn $name() {
                $check();
            }
        )*
    };
}

cases! {
    1 case_01_a_put_gives_a_token_without_newline => tokens::a_put_gives_a_token_without_newline;
    2 case_02_the_answer_has_the_ttl_in_a_header => tokens::the_answer_has_the_ttl_in_a_header;
    3 case_03_a_put_without_a_ttl_is_400 => tokens::a_put_without_a_ttl_is_400;
    4 case_04_an_illegal_ttl_is_400 => tokens::an_illegal_ttl_is_400;
    5 case_05_a_short_life_is_kept => tokens::a_short_life_is_kept;
    6 case_06_forwarded_requests_get_no_token => tokens::forwarded_requests_get_no_token;
    7 case_07_a_put_may_have_a_length_none_or_a_small_body => tokens::a_put_may_have_a_length_none_or_a_small_body;
    8 case_08_header_names_match_in_any_case => tokens::header_names_match_in_any_case;
    9 case_09_get_on_the_token_path_is_405_with_the_methods => tokens::get_on_the_token_path_is_405_with_the_methods;
    10 case_10_other_methods_are_405 => tokens::other_methods_are_405;
    11 case_11_put_elsewhere_is_an_empty_403 => tokens::put_elsewhere_is_an_empty_403;
    12 case_12_without_a_token_401_where_v1_is_off => tokens::without_a_token_401_where_v1_is_off;
    13 case_13_without_a_token_200_where_v1_is_on => tokens::without_a_token_200_where_v1_is_on;
    14 case_14_a_bad_token_is_401_even_where_v1_is_on => tokens::a_bad_token_is_401_even_where_v1_is_on;
    15 case_15_the_root_with_a_bad_token_is_401 => tokens::the_root_with_a_bad_token_is_401;
    16 case_16_the_root_lists_the_versions => listing::the_root_lists_the_versions;
    17 case_17_a_token_that_is_over_is_401_and_a_new_one_works_at_once => tokens::a_token_that_is_over_is_401;
    18 case_18_a_token_of_another_process_is_401 => tokens::a_token_of_another_process_is_401;
    19 case_19_two_tokens_are_valid_together => tokens::two_tokens_are_valid_together;
    20 case_20_the_listing_is_the_role_without_newline => listing::the_listing_is_the_role_without_newline;
    21 case_21_no_final_slash_is_needed => listing::no_final_slash_is_needed;
    22 case_22_the_listing_is_one_line_always => listing::the_listing_is_one_line_always;
    23 case_23_the_document_has_seven_keys => roles::the_document_has_seven_keys;
    24 case_24_a_final_slash_changes_nothing => roles::a_final_slash_changes_nothing;
    25 case_25_the_code_is_success => roles::the_code_is_success;
    26 case_26_the_expiration_has_the_only_form_that_all_read => roles::the_expiration_has_the_only_form_that_all_read;
    27 case_27_last_updated_has_the_same_form => roles::last_updated_has_the_same_form;
    28 case_28_no_role_arn_and_nothing_nested => roles::no_role_arn_and_nothing_nested;
    29 case_29_the_document_is_text_plain => roles::the_document_is_text_plain;
    30 case_30_a_length_and_no_chunks => roles::a_length_and_no_chunks;
    31 case_31_http_1_0_and_close_are_served => http::http_1_0_and_close_are_served;
    32 case_32_a_connection_serves_many_requests => http::a_connection_serves_many_requests;
    33 case_33_an_unknown_role_is_404 => roles::an_unknown_role_is_404;
    34 case_34_without_a_role_the_listing_is_404 => roles::without_a_role_the_listing_is_404;
    35 case_35_the_extended_paths_are_404_or_have_the_account => roles::the_extended_paths_are_404_or_have_the_account;
    36 case_36_extended_list_and_document_agree => roles::extended_list_and_document_agree;
    37 case_37_what_is_held_is_served_while_the_upstream_is_down => roles::what_is_held_is_served_while_the_upstream_is_down;
    38 case_38_a_refused_role_is_a_200_that_says_so => roles::a_refused_role_is_a_200_that_says_so;
    39 case_39_double_slashes_are_one => listing::double_slashes_are_one;
    40 case_40_the_zone_with_and_without_slash => tree::the_zone_with_and_without_slash;
    41 case_41_the_region => tree::the_region;
    42 case_42_the_identity_document => tree::the_identity_document;
    43 case_43_the_instance_profile => tree::the_instance_profile;
    44 case_44_every_answer_names_ec2s_server => http::every_answer_names_ec2s_server;
    45 case_45_directories_need_no_final_slash => listing::directories_need_no_final_slash;
    46 case_46_answers_are_quick => http::answers_are_quick;
    47 case_47_unusual_hosts_are_refused_and_those_of_ipv6_mode_are_not => http::unusual_hosts_are_refused;
    48 case_48_head_has_headers_only => http::head_has_headers_only;
    49 case_49_queries_do_not_count => listing::queries_do_not_count;
    50 case_50_the_right_token_gets_four_keys_as_json => containers::the_right_token_gets_four_keys_as_json;
    51 case_51_without_it_an_error_that_all_sdks_read => containers::without_it_an_error_that_all_sdks_read;
    52 case_52_white_space_around_a_token_does_not_count => containers::white_space_around_a_token_does_not_count;
    53 case_53_the_document_of_ecs_has_the_role_arn => containers::the_document_of_ecs_has_the_role_arn;
    54 case_54_half_an_hour_is_left_in_every_answer => containers::half_an_hour_is_left_in_every_answer;
    55 case_55_a_pod_gets_the_role_of_its_service_account => containers::a_pod_gets_the_role_of_its_service_account;
    56 case_56_a_rotated_token_breaks_nobody => containers::a_rotated_token_breaks_nobody;
    57 case_57_path_and_query_of_the_url_arrive_intact => containers::path_and_query_of_the_url_arrive_intact;
    58 case_58_nothing_redirects => http::nothing_redirects;
    59 case_59_a_thousand_gets_cost_no_upstream_call => http::a_thousand_gets_cost_no_upstream_call;
    60 case_60_no_answer_mixes_two_sets => roles::no_answer_mixes_two_sets;
    61 case_61_an_empty_token_is_a_bad_one => tokens::an_empty_token_is_a_bad_one;
    62 case_62_a_head_of_eight_kilobytes_is_accepted => http::a_head_of_eight_kilobytes_is_accepted;
    63 case_63_services_and_arns_follow_the_region => tree::services_and_arns_follow_the_region;
    64 case_64_the_region_of_a_local_zone => tree::the_region_of_a_local_zone;
    65 case_65_an_account_is_never_made_up => tree::an_account_is_never_made_up;
    66 case_66_what_is_not_known_yet_is_503 => tree::what_is_not_known_yet_is_503;
    67 case_67_a_key_is_listed_with_its_name => tree::a_key_is_listed_with_its_name;
    68 case_68_by_default_nothing_says_that_this_is_ec2 => tree::by_default_nothing_says_that_this_is_ec2;
    69 case_69_the_defaults_of_ec2_are_complete => tree::the_defaults_of_ec2_are_complete;
    70 case_70_containers_may_call_their_host_by_the_names_that_they_have_for_it => hosts::containers_may_call_their_host_by_name;
}

#[test]
fn the_table_of_the_documentation_has_the_same_cases() {
    let numbers: Vec<u8> = CASES.iter().map(|(number, _)| *number).collect();
    assert_eq!(numbers, (1..=70).collect::<Vec<u8>>());
    for (number, name) in CASES {
        assert!(name.starts_with(&format!("case_{number:02}_")), "{name}");
    }
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("docs/conformance.md");
    let text = fs::read_to_string(path).expect("the documentation");
    let mut documented = Vec::new();
    for line in text.lines().filter(|line| line.starts_with("| ")) {
        let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
        let Ok(number) = cells[0].parse::<u8>() else { continue };
        assert!(cells.len() == 3 && cells.iter().all(|cell| !cell.is_empty()), "who depends on it? {line}");
        documented.push(number);
    }
    assert_eq!(documented, numbers);
}

/// One upstream and two daemons, with and without v1.
struct Rig {
    ims: Ims,
    v1: Daemon,
    v2: Daemon,
}

fn rig() -> Rig {
    let ims = Ims::start(Behaviour::default());
    let v1 = Daemon::with_credentials(&format!(
        "{}listen: ['127.0.0.1:0', '[::1]:0']\nmetadata: {{region: eu-west-1}}\n",
        ims.config()
    ));
    let v2 = Daemon::with_credentials(&format!("{}imds_v1: false\nmetadata: {{region: eu-west-1}}\n", ims.config()));
    Rig { ims, v1, v2 }
}

impl Rig {
    fn both(&self) -> [SocketAddr; 2] {
        [self.v1.address(), self.v2.address()]
    }
}

/// An upstream and one daemon with this section of metadata.
fn with_metadata(section: &str) -> (Ims, Daemon) {
    let ims = Ims::start(Behaviour::default());
    let daemon = Daemon::with_credentials(&format!("{}metadata: {section}\n", ims.config()));
    (ims, daemon)
}

fn put_token(address: SocketAddr, ttl: &str) -> Response {
    request(
        address,
        &format!(
            "PUT /latest/api/token HTTP/1.1\r\nHost: 127.0.0.1\r\nx-aws-ec2-metadata-token-ttl-seconds: {ttl}\r\n"
        ),
    )
}

fn token(address: SocketAddr) -> String {
    put_token(address, "21600").body
}

fn get_with(address: SocketAddr, path: &str, token: &str) -> Response {
    request(address, &format!("GET {path} HTTP/1.1\r\nHost: 169.254.169.254\r\nX-aws-ec2-metadata-token: {token}\r\n"))
}

/// With a fresh token.
fn get(address: SocketAddr, path: &str) -> Response {
    get_with(address, path, &token(address))
}

fn get_v1(address: SocketAddr, path: &str) -> Response {
    request(address, &format!("GET {path} HTTP/1.1\r\nHost: 169.254.169.254\r\n"))
}
