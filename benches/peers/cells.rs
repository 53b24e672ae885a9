//! What a cell says: the median of what was measured, with the least and the most.

/// A value, and whether others used the CPUs while it was measured.
pub type Value = (f64, bool);

/// Sorted values of the undisturbed samples; of all where every one was disturbed.
pub fn clean(values: &[Value]) -> Vec<f64> {
    let all_disturbed = values.iter().all(|(_, disturbed)| *disturbed);
    let chosen = values.iter().filter(|(_, disturbed)| all_disturbed || !disturbed);
    let mut values: Vec<f64> = chosen.map(|(value, _)| *value).collect();
    values.sort_by(f64::total_cmp);
    values
}

pub fn median(sorted: &[f64]) -> Option<f64> {
    let middle = sorted.len() / 2;
    match sorted.len() {
        0 => None,
        odd if odd % 2 == 1 => Some(sorted[middle]),
        _ => Some(f64::midpoint(sorted[middle - 1], sorted[middle])),
    }
}

/// `median [least-most]`, marked `!` where everything was disturbed; empty where nothing was measured.
pub fn cell(values: &[Value]) -> String {
    let sorted = clean(values);
    let (Some(median), Some(&least), Some(&most)) = (median(&sorted), sorted.first(), sorted.last()) else {
        return String::new();
    };
    let mark = if values.iter().all(|(_, disturbed)| *disturbed) { " !" } else { "" };
    format!("{} [{}-{}]{mark}", digits(median), digits(least), digits(most))
}

/// Three digits, at most two of them behind the point.
pub fn digits(value: f64) -> String {
    match value.abs() {
        size if size >= 100.0 => format!("{value:.0}"),
        size if size >= 10.0 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}
