(() => {
  const slider = document.getElementById("pooled-threshold");
  const pooled = JSON.parse(document.getElementById("pooled-counts").textContent);
  const shown = document.getElementById("pooled-shown");
  const rows = document.querySelectorAll("tr[data-pooled]");

  const figures = (counts, index) => {
    const [tp, fp, tn, fn] = ["tp", "fp", "tn", "fn"].map((name) => counts[name][index]);
    return {
      tp, fp, tn, fn,
      recall: tp / (tp + fn),
      precision: tp + fp ? tp / (tp + fp) : null,
      f1: (2 * tp) / (2 * tp + fp + fn),
    };
  };

  const text = (name, value) => {
    if (value === null) return "–";
    if (["tp", "fp", "tn", "fn"].includes(name)) return value.toLocaleString("en-US");
    let digits = 3;
    while (digits < 6 && value !== 0 && value !== 1 && [0, 1].includes(+value.toFixed(digits))) digits++;
    return value.toFixed(digits);
  };

  const show = () => {
    const index = Number(slider.value) - 1;
    shown.textContent = pooled.thresholds[index].toFixed(2);
    for (const row of rows) {
      const [split, arm] = JSON.parse(row.dataset.pooled);
      const current = figures(pooled.splits[split][arm], index);
      for (const cell of row.querySelectorAll("[data-figure]")) {
        const name = cell.dataset.figure;
        cell.firstChild.textContent = text(name, current[name]);
        const whole = { tp: current.tp + current.fn, fn: current.tp + current.fn, fp: current.fp + current.tn, tn: current.fp + current.tn }[name];
        if (whole) cell.style.setProperty("--share", current[name] / whole);
      }
    }
  };

  slider.addEventListener("input", show);
  show();
})();
