//! Hostile files are refused before they take much memory, whatever they hold or claim to hold.

#[path = "fixture/counting.rs"]
mod counting;

use counting::peak;
use diffulex::bytes::Bytes;
use diffulex::json::Value;
use diffulex::weights::SafeTensors;

/// The largest header that is read at all, in bytes.
const HEADER: usize = 100_000_000;
/// What reading it may take beyond its own bytes. Real headers take about three times their size.
const LIMIT: usize = 512 << 20;

/// A file whose header is `start`, then as many `unit`s as there is room for, then `end`.
fn file(start: &str, unit: &str, end: &str) -> Bytes {
    let times = (HEADER - start.len() - end.len()) / unit.len();
    let mut file = Vec::with_capacity(8 + HEADER);
    file.extend_from_slice(&[0; 8]);
    file.extend_from_slice(start.as_bytes());
    (0..times).for_each(|_| file.extend_from_slice(unit.as_bytes()));
    file.extend_from_slice(end.as_bytes());
    let length = (file.len() - 8) as u64;
    file[..8].copy_from_slice(&length.to_le_bytes());
    Bytes::new(file)
}

/// One test, because the count is of the whole process.
#[test]
#[ignore = "slow: ten headers of 100 MB"]
fn headers_of_the_largest_size_take_bounded_memory() {
    let declaration = r#""t":{"dtype":"U8","shape":[0],"data_offsets":[0,0]},"#;
    for (start, unit, end) in [
        ("{\"a\":[", "1,", "1]}"),
        ("{\"a\":[", "[],", "1]}"),
        ("{\"a\":[", "{},", "1]}"),
        ("{\"a\":[", "\"\",", "1]}"),
        ("{", "\"\":0,", "\"a\":0}"),
        ("{\"a\":{", "\"b\":{\"c\":\"d\"},", "\"a\":0}}"),
        ("{", declaration, "\"a\":0}"),
        ("{\"__metadata__\":{", "\"a\":\"b\",", "\"c\":\"d\"}}"),
        ("{\"__metadata__\":{\"diffulex.quant\":\"[", "1,", "1]\"}}"),
        ("{\"__metadata__\":{\"a\":\"", "b", "\"}}"),
    ] {
        let file = file(start, unit, end);
        let taken = peak(|| SafeTensors::from_bytes("t.safetensors", &file).map(drop));
        println!("{start}{unit}..: {} MB", taken >> 20);
        assert!(taken < LIMIT, "{start}{unit}..: {} MB", taken >> 20);
        let text = &file[8..];
        let taken = peak(|| Value::parse("t.json", text));
        assert!(taken < LIMIT, "{start}{unit}.. as JSON: {} MB", taken >> 20);
    }
    let claims =
        r#"{"w":{"dtype":"F32","shape":[1152921504606846976],"data_offsets":[0,4611686018427387904]}}"#;
    let bytes = Bytes::new([&(claims.len() as u64).to_le_bytes(), claims.as_bytes()].concat());
    let taken = peak(|| assert!(SafeTensors::from_bytes("t.safetensors", &bytes).is_err(), "accepted"));
    assert!(taken < 1 << 20, "{taken} bytes for a claim");
}
