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
  let failed = 0;
  for (const [id, spec] of Object.entries(specs)) {
    const place = document.getElementById(id);
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
