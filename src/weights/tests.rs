mod agree;

use super::*;
use crate::bytes::Bytes;
use crate::dtype::DType;
use ::safetensors::tensor::{Dtype, TensorView as TheirView};
use ::safetensors::{SafeTensors as Theirs, serialize};
use agree::{PAIRS, agree};
use proptest::collection::{btree_map, vec};
use proptest::prelude::*;
use proptest::sample::{Index, select};

/// A valid file as the crate writes it: up to 5 tensors of up to 3 dimensions, metadata half of the time.
fn file() -> impl Strategy<Value = Vec<u8>> {
    let tensor = (select(&PAIRS), vec(0..4usize, 0..=3), any::<u8>());
    // Not an empty map: without tensors the crate then writes a header that is not JSON.
    let metadata = proptest::option::of(proptest::collection::hash_map("[a-z]{1,4}", any::<String>(), 1..3));
    (btree_map("[a-z.é\"]{1,6}", tensor, 0..=5), metadata).prop_map(|(tensors, metadata)| {
        let stored: Vec<_> = tensors
            .into_iter()
            .map(|(name, ((ours, theirs), shape, seed))| {
                let size = ours.size() * shape.iter().product::<usize>();
                let data: Vec<u8> = (0..size).map(|i| seed.wrapping_add(i as u8)).collect();
                (name, theirs, shape, data)
            })
            .collect();
        let views = stored
            .iter()
            .map(|(name, dtype, shape, data)| (name, TheirView::new(*dtype, shape.clone(), data).unwrap()));
        serialize(views, metadata).unwrap()
    })
}

/// Replaces the `nth` run of digits in the header by `number`, and corrects the length of the header.
fn replace_number(file: &[u8], nth: Index, number: &str) -> Vec<u8> {
    let end = 8 + u64::from_le_bytes(file[..8].try_into().unwrap()) as usize;
    let header = std::str::from_utf8(&file[8..end]).unwrap();
    let digits: Vec<_> = header.match_indices(|c: char| c.is_ascii_digit()).map(|(i, _)| i).collect();
    if digits.is_empty() {
        return file.to_vec();
    }
    let start = digits[nth.index(digits.len())];
    let stop = start + header[start..].find(|c: char| !c.is_ascii_digit()).unwrap();
    let header = format!("{}{number}{}", &header[..start], &header[stop..]);
    assemble(&header, &file[end..])
}

fn assemble(header: &str, data: &[u8]) -> Vec<u8> {
    [&(header.len() as u64).to_le_bytes(), header.as_bytes(), data].concat()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn files_of_the_crate_are_read_as_the_crate_reads_them(file in file()) {
        prop_assert!(agree(&file), "a valid file was refused");
    }

    #[test]
    fn truncated_and_extended_files_are_refused(file in file(), at in any::<Index>(), extra in 1..20usize) {
        prop_assert!(!agree(&file[..at.index(file.len())]));
        prop_assert!(!agree(&[&file[..], &vec![b' '; extra]].concat()));
    }

    #[test]
    fn damaged_bytes_are_judged_as_by_the_crate(file in file(), at in any::<Index>(), byte in any::<u8>()) {
        let mut file = file;
        let at = at.index(file.len());
        file[at] = byte;
        agree(&file);
    }

    #[test]
    fn other_numbers_are_judged_as_by_the_crate(
        file in file(),
        nth in any::<Index>(),
        number in prop_oneof![
            (0..64u64).prop_map(|n| n.to_string()),
            any::<u64>().prop_map(|n| n.to_string()),
            select(&["18446744073709551615", "18446744073709551616", "2.0", "1e1", "-1", "-0", "00", "null"][..])
                .prop_map(String::from),
        ],
    ) {
        agree(&replace_number(&file, nth, &number));
    }

    #[test]
    fn declared_ranges_are_judged_as_by_the_crate(ranges in vec((0..6usize, 0..6usize), 1..4), size in 0..8usize) {
        let declared: Vec<String> = ranges
            .iter()
            .enumerate()
            .map(|(i, (begin, end))| {
                let shape = end.saturating_sub(*begin);
                format!("\"t{i}\":{{\"dtype\":\"U8\",\"shape\":[{shape}],\"data_offsets\":[{begin},{end}]}}")
            })
            .collect();
        let bytes = assemble(&format!("{{{}}}", declared.join(",")), &vec![7; size]);
        let accepted = agree(&bytes);
        prop_assert_eq!(accepted, Theirs::deserialize(&bytes).is_ok());
    }
}

#[test]
fn a_memory_source_hands_out_what_was_put_in() {
    let mut source = MemorySource::new("weights of the test");
    let bytes = Bytes::copy_aligned(&[1, 2, 3, 4]);
    let view = TensorView::new(DType::U8, vec![2, 2], bytes.clone()).unwrap();
    assert!(source.insert("b", view.clone()).is_none());
    assert!(source.insert("a", view.clone()).is_none());
    assert!(source.insert("a", view).is_some());
    assert_eq!(source.names(), ["a", "b"]);
    let tensor = source.tensor("b").unwrap();
    assert_eq!((tensor.shape(), tensor.bytes().as_ptr()), (&[2, 2][..], bytes.as_ptr()), "copied");
    let error = source.tensor("c").unwrap_err();
    assert_eq!(error.to_string(), "weights of the test: tensor `c` is missing");
    assert_eq!(source.origin("c"), "weights of the test");
}

#[test]
fn metadata_of_the_header_is_kept() {
    let bytes = assemble("{\"__metadata__\":{\"format\":\"pt\",\"note\":\"é\"}}", &[]);
    let source = SafeTensors::from_bytes("m", &Bytes::new(bytes)).unwrap();
    assert_eq!(source.metadata(), [("format".into(), "pt".into()), ("note".into(), "é".into())]);
    assert!(source.names().is_empty());
}
