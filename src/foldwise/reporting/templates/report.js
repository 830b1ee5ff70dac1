// Draw every chart, in order. The SVG takes its ink from the page (currentColor), so light, dark
// and print need no second drawing. Expressions are interpreted, never compiled: no eval.
(async () => {
  const read = (id) => JSON.parse(document.getElementById(id).textContent);
  const specs = read("specs");
  const options = {
    renderer: "svg",
    actions: false,
    ast: true,
    defaultStyle: false,
    config: read("theme"),
    tooltip: { theme: "page", disableDefaultStyle: true },
  };
  const plain = (column) => Array.isArray(column) ? column : column.at.map((place) => column.of[place]);
  const rows = (columns) => {
    const entries = Object.entries(columns).map(([name, column]) => [name, plain(column)]);
    return entries[0][1].map((_, i) => Object.fromEntries(entries.map(([name, c]) => [name, c[i]])));
  };
  let failed = 0;
  for (const [id, spec] of Object.entries(specs)) {
    const place = document.getElementById(id);
    for (const name of Object.keys(spec.datasets)) spec.datasets[name] = rows(spec.datasets[name]);
    try {
      await vegaEmbed(place, spec, options);
    } catch (error) {
      failed += 1;
      place.textContent = "This chart could not be drawn; its numbers are below.";
      console.error(`${id}: ${error}`);
    }
  }
  document.documentElement.dataset.charts = failed ? "failed" : "drawn";
})();
