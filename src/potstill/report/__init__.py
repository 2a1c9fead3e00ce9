"""Pages a person reads: what was generated, whether the data is GO or NO-GO, and how good the student is.

Every page is one HTML file that works offline: inline CSS and SVG, no script, no font and no picture from elsewhere.

    audit.html     :func:`potstill.report.audit.write_audit_page`
    evaluate.html  :func:`potstill.report.evaluate.write_evaluate_page`
    report.html    :func:`potstill.run.pages.write_run_page`, the one to open first
"""
